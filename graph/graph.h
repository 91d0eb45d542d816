// An immutable graph of ops, and the builder that makes one. Building validates: a wrong shape,
// dtype or use of Rows is a GraphError that names the op, its inputs and their shapes.
//
// Nodes run in the order in which they were added. This is what orders a read of a cache before the
// append that overwrites it, so build in the order that you mean.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "graph/op.h"
#include "graph/tensor.h"

namespace l2a {

class Buffer;

using NodeId = std::int32_t;
inline constexpr NodeId kNoNode = -1;

// A handle to a value of a graph under construction; empty where an input is optional and absent.
struct Tensor {
  ValueId id = kNoValue;
  explicit operator bool() const { return id != kNoValue; }
};

// A handle to a Rows value: ascending token indices and their count (graph/README.md).
struct Rows {
  ValueId id = kNoValue;
  explicit operator bool() const { return id != kNoValue; }
};

enum class ValueKind : std::uint8_t {
  weight,    // constant data in a buffer
  state,     // a buffer that ops change and that outlives a run: caches
  input,     // written before each run
  computed,  // by a node
  view,      // other strides or a part of another value; no node
};

struct Value {
  std::string name;
  ValueKind kind = ValueKind::computed;
  ValueInfo info;
  NodeId producer = kNoNode;       // computed values
  ValueId base = kNoValue;         // value whose memory this is a view of, or is an update of
  std::size_t base_offset = 0;     // bytes from the start of base
  std::shared_ptr<Buffer> buffer;  // weight and state
  std::size_t buffer_offset = 0;
  bool output = false;
};

struct Node {
  std::shared_ptr<const Op> op;
  std::vector<ValueId> inputs;  // kNoValue where an optional input is absent
  ValueId output = kNoValue;
};

class Graph {
 public:
  std::span<const Value> values() const { return values_; }
  std::span<const Node> nodes() const { return nodes_; }
  const Value& value(ValueId id) const { return values_[static_cast<std::size_t>(id)]; }
  const Node& node(NodeId id) const { return nodes_[static_cast<std::size_t>(id)]; }

  // The value that owns the memory of `id`: itself, or what it is finally a view or an update of.
  ValueId root(ValueId id) const;
  // Bytes from the start of the root's memory.
  std::size_t root_offset(ValueId id) const;
  // Bytes of memory a root needs.
  std::size_t root_bytes(ValueId id) const;

  std::vector<ValueInfo> input_infos(const Node& node) const;
  OutputInfo output_info(const Node& node) const;
  Cost cost(const CostHints& hints) const;

 private:
  friend class GraphBuilder;
  std::vector<Value> values_;
  std::vector<Node> nodes_;
};

class GraphBuilder {
 public:
  // Leaves. A weight or state refers to memory that some backend holds; the innermost extent is
  // contiguous.
  Tensor weight(std::string name, Dtype dtype, const Shape& shape, std::shared_ptr<Buffer> buffer,
                std::size_t offset = 0);
  Tensor state(std::string name, Dtype dtype, const Shape& shape, std::shared_ptr<Buffer> buffer,
               std::size_t offset = 0);
  Tensor input(std::string name, Dtype dtype, const Shape& shape);

  // Views; nothing is copied.
  Tensor reshape(
      Tensor x, const Shape& shape);  // of a contiguous tensor; keeps the leading extent if compact
  Tensor slice(Tensor x, std::int64_t begin,
               std::int64_t end);  // of the leading axis; x not compact

  // Adds a node. `inputs` may hold empty handles for optional inputs. Ops offer typed functions
  // over this.
  Tensor add(std::shared_ptr<const Op> op, std::span<const Tensor> inputs);
  Tensor add(std::shared_ptr<const Op> op, std::initializer_list<Tensor> inputs) {
    return add(std::move(op), std::span<const Tensor>(inputs.begin(), inputs.size()));
  }

  // Names a value for messages, `describe()` and drawings.
  Tensor name(Tensor x, std::string name);
  // Keeps a value readable after a run.
  void output(Tensor x);

  // What was added so far.
  const Graph& graph() const { return graph_; }
  const ValueInfo& info(Tensor x) const;
  const Shape& shape(Tensor x) const { return info(x).shape; }
  // The Rows that bound a compact tensor, as an op's optional input; empty for a full one.
  Tensor rows_of(Tensor x) const { return {info(x).rows}; }

  // The finished graph, without nodes that no output and no state depends on. The builder is empty
  // afterwards.
  std::shared_ptr<const Graph> build();

 private:
  Tensor leaf(ValueKind kind, std::string name, Dtype dtype, const Shape& shape,
              std::shared_ptr<Buffer> buffer, std::size_t offset);
  Tensor push(Value value);
  const Value& checked(Tensor x) const;
  Graph graph_;
};

}  // namespace l2a
