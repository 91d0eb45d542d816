#include "graph/backend.h"

namespace l2a {

Operands host_operands(const Graph& graph, const Node& node,
                           std::span<const Binding> bindings) {
  auto view = [&](ValueId id) {
    if (id == kNoValue) return TensorView{};
    const ValueInfo& info = graph.value(id).info;
    const Binding& binding = bindings[static_cast<std::size_t>(graph.root(id))];
    std::byte* data = binding.buffer->host() + binding.offset + graph.root_offset(id);
    return TensorView{info.dtype, info.shape, info.strides, data};
  };
  Operands operands;
  operands.inputs.reserve(node.inputs.size());
  for (const ValueId input : node.inputs) operands.inputs.push_back(view(input));
  operands.output = view(node.output);
  return operands;
}

}  // namespace l2a
