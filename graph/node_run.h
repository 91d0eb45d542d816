// The nodes that a backend compiles, as its rewrites look at them: what follows what, and who reads what.
#pragma once

#include <span>
#include <vector>

#include "graph/backend.h"

namespace l2a {

class NodeRun {
 public:
  // What is given must outlive it; `operands` are those of `nodes`, in order.
  NodeRun(const Graph& graph, std::span<const NodeId> nodes, std::span<const Operands> operands);

  std::size_t size() const { return nodes_.size(); }
  const Graph& graph() const { return graph_; }
  const Value& value(ValueId id) const { return graph_.value(id); }
  const Node& node(std::size_t i) const { return graph_.node(nodes_[i]); }
  const Operands& operands(std::size_t i) const { return operands_[i]; }
  const TensorView& out(std::size_t i) const { return operands_[i].output; }
  const TensorView& in(std::size_t i, int input) const { return operands_[i].inputs[index(input)]; }
  // Roots of values; kNoValue for an input that is absent.
  ValueId in_value(std::size_t i, int input) const {
    const ValueId id = node(i).inputs[index(input)];
    return id == kNoValue ? id : graph_.root(id);
  }
  ValueId out_value(std::size_t i) const { return graph_.root(node(i).output); }

  // The node's op, if it is there and a T.
  template <class T>
  const T* op(std::size_t i) const {
    return i < nodes_.size() && node(i).op->name() == T::kName
               ? static_cast<const T*>(node(i).op.get())
               : nullptr;
  }
  // How often nodes of the graph read node i's output; more than kHost when the host does, too.
  static constexpr int kHost = 1 << 20;
  int readers(std::size_t i) const { return readers_[index(out_value(i))]; }
  // Whether node i's output is that input of node j and of nothing else.
  bool feeds_only(std::size_t i, std::size_t j, int input) const {
    return in_value(j, input) == out_value(i) && readers(i) == 1;
  }
  // Whether two nodes have the same tensor as an input, or both none.
  bool same_input(std::size_t i, int input, std::size_t j, int other) const;

 private:
  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

  const Graph& graph_;
  std::span<const NodeId> nodes_;
  std::span<const Operands> operands_;
  std::vector<int> readers_;  // by root value
};

// Whether two tensors share memory. Of each, what lies between its first element and its last counts.
bool overlap(const TensorView& a, const TensorView& b);

}  // namespace l2a
