#include "graph/node_run.h"

namespace l2a {

NodeRun::NodeRun(const Graph& graph, std::span<const NodeId> nodes,
                 std::span<const Operands> operands)
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

bool NodeRun::same_input(std::size_t i, int input, std::size_t j, int other) const {
  const ValueId a = node(i).inputs[index(input)], b = node(j).inputs[index(other)];
  if (a == kNoValue || b == kNoValue) return a == b;
  const ValueInfo &left = value(a).info, &right = value(b).info;
  return graph_.root(a) == graph_.root(b) && graph_.root_offset(a) == graph_.root_offset(b) &&
         left.shape == right.shape && left.strides == right.strides;
}

bool overlap(const TensorView& a, const TensorView& b) {
  const auto end = [](const TensorView& view) -> const std::byte* {
    if (view.shape.rank() == 0 || view.shape[0] == 0) return view.data;
    const std::byte* last = view.data;
    for (int axis = 0; axis + 1 < view.shape.rank(); ++axis)
      last += (view.shape[axis] - 1) * view.strides[static_cast<std::size_t>(axis)];
    return last + dtype_bytes(view.dtype, view.shape.back());
  };
  return a.data < end(b) && b.data < end(a);
}

}  // namespace l2a
