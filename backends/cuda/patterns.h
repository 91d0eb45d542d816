// The runs of nodes that lowering makes one launch of: how they are found.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "backends/cuda/lowering.h"
#include "ops/rope.h"

namespace l2a::cuda {

// The nodes of a run as lowering looks at them: what they are, and who reads what they compute.
class Nodes {
 public:
  Nodes(const Graph& graph, std::span<const NodeId> nodes, std::span<const NodeOperands> operands)
      : graph_(graph), nodes_(nodes), operands_(operands), readers_(graph.values().size()) {
    for (const Node& node : graph.nodes()) {
      for (const ValueId input : node.inputs) {
        if (input != kNoValue) ++readers_[index(graph.root(input))];
      }
    }
    for (const Value& value : graph.values()) {
      // What the host reads has a reader that no node is.
      if (value.output) readers_[index(graph.root(value.info.id))] += kHost;
    }
  }

  std::size_t size() const { return nodes_.size(); }
  const Node& node(std::size_t i) const { return graph_.node(nodes_[i]); }
  const Graph& graph() const { return graph_; }
  const Value& value(ValueId id) const { return graph_.value(id); }
  const NodeOperands& operands(std::size_t i) const { return operands_[i]; }
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
  // How often nodes read node i's output; more than kHost when the host does, too.
  static constexpr int kHost = 1 << 20;
  int readers(std::size_t i) const { return readers_[index(out_value(i))]; }
  // Whether node i's output is that input of node j and of nothing else.
  bool feeds_only(std::size_t i, std::size_t j, int input) const {
    return in_value(j, input) == out_value(i) && readers(i) == 1;
  }

 private:
  static std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

  const Graph& graph_;
  std::span<const NodeId> nodes_;
  std::span<const NodeOperands> operands_;
  std::vector<int> readers_;  // by root value
};

// A projection to heads: matmul, then where they are there bias, head norm and rope.
struct Projection {
  std::size_t matmul = 0, next = 0;  // first node after it
  std::size_t last = 0;              // whose output the chain has
  const TensorView *bias = nullptr, *norm = nullptr;
  const Rope* rope = nullptr;
  const TensorView* table = nullptr;
  float eps = 0;
};

// The router of a single token before its heads; in "add" the query's row is gathered (ops/l2a_attention.cpp).
struct Routed {
  static constexpr std::size_t kNone = SIZE_MAX;
  std::size_t route = kNone, gather = kNone;

  bool there() const { return route != kNone; }
  bool gathers() const { return gather != kNone; }
  std::size_t end() const { return (gathers() ? gather : route) + 1; }
};

// Keys, values, both appends and, of the same activations or their routed row, queries: as ops/self_attention.cpp
// adds them.
struct Heads {
  Projection key, value;
  std::optional<Projection> query;
  std::size_t first = 0, second = 0;  // appends

  std::size_t end() const { return query ? query->next : second + 1; }
};

class Patterns : public Nodes {
 public:
  Patterns(const Graph& graph, std::span<const NodeId> nodes,
           std::span<const NodeOperands> operands, const DeviceTraits& device)
      : Nodes(graph, nodes, operands), device_(device) {}

  const DeviceTraits& device() const { return device_; }

  // A product of few tokens that the matvec kernels take.
  bool few(std::size_t i) const;
  bool same_x(std::size_t i, std::size_t j) const;
  // Whether blocks prepare the activations of this product, of a single token, for themselves.
  bool prepares(std::size_t i) const;
  // Quantized products of several tokens read a copy of their activations; others read them where they are, where
  // nothing may be written meanwhile.
  bool writes_apart(std::size_t product, const TensorView& to) const;
  // Whether products, which come after node i, can normalize for themselves, so that its output need not be written.
  bool can_leave_norm(std::size_t i) const;

  std::optional<Routed> match_routed(std::size_t i) const;
  std::optional<Heads> match_heads(std::size_t i, const Routed& routed) const;
  // Whether attention i is of these heads: of the queries alone, and over the caches that the rest is appended to,
  // where nothing else of this run has written.
  bool attends(std::size_t i, const Heads& heads) const;

 private:
  // `rows` are those of a query of routed tokens.
  std::optional<Projection> projection(std::size_t i, ValueId rows) const;

  DeviceTraits device_;
};

template <class T>
const T* address(const TensorView& view) {
  return reinterpret_cast<const T*>(view.data);
}

inline bool overlap(const TensorView& a, const TensorView& b) {
  return a.data < b.data + dtype_bytes(b.dtype, b.shape.elements()) &&
         b.data < a.data + dtype_bytes(a.dtype, a.shape.elements());
}

}  // namespace l2a::cuda
