#include "graph/graph.h"

#include <algorithm>

#include "graph/backend.h"
#include "graph/error.h"

namespace l2a {
namespace {

std::string describe_input(const Value& value) {
  std::string text = concat(value.name, ": ", value.info.dtype, " ", value.info.shape);
  if (value.info.compact()) text += " compact";
  if (value.info.is_rows) text += " rows";
  return text;
}

bool contiguous(const ValueInfo& info) {
  return info.strides == contiguous_strides(info.dtype, info.shape);
}

}  // namespace

ValueId Graph::root(ValueId id) const {
  while (value(id).base != kNoValue) id = value(id).base;
  return id;
}

std::size_t Graph::root_offset(ValueId id) const {
  std::size_t offset = 0;
  for (; value(id).base != kNoValue; id = value(id).base) offset += value(id).base_offset;
  return offset;
}

std::size_t Graph::root_bytes(ValueId id) const {
  const ValueInfo& info = value(root(id)).info;
  return dtype_bytes(info.dtype, info.shape.elements());
}

std::vector<ValueInfo> Graph::input_infos(const Node& node) const {
  std::vector<ValueInfo> infos;
  infos.reserve(node.inputs.size());
  for (const ValueId id : node.inputs)
    infos.push_back(id == kNoValue ? ValueInfo{} : value(id).info);
  return infos;
}

OutputInfo Graph::output_info(const Node& node) const {
  const ValueInfo& info = value(node.output).info;
  return {info.dtype, info.shape, info.rows, info.is_rows};
}

Cost Graph::cost(const CostHints& hints) const {
  Cost total;
  for (const Node& node : nodes_)
    total += node.op->cost(input_infos(node), output_info(node), hints);
  return total;
}

const Value& GraphBuilder::checked(Tensor x) const {
  if (x.id < 0 || static_cast<std::size_t>(x.id) >= graph_.values_.size()) {
    throw GraphError("a tensor of another graph, or none, where one is needed");
  }
  return graph_.value(x.id);
}

const ValueInfo& GraphBuilder::info(Tensor x) const { return checked(x).info; }

Tensor GraphBuilder::push(Value value) {
  const auto id = static_cast<ValueId>(graph_.values_.size());
  value.info.id = id;
  graph_.values_.push_back(std::move(value));
  return {id};
}

Tensor GraphBuilder::leaf(ValueKind kind, std::string name, Dtype dtype, const Shape& shape,
                          std::shared_ptr<Buffer> buffer, std::size_t offset) {
  if (shape.rank() == 0) throw GraphError(concat(name, ": a tensor needs a shape"));
  const std::size_t bytes =
      dtype_bytes(dtype, shape.back()) * static_cast<std::size_t>(shape.elements() / shape.back());
  if (kind != ValueKind::input) {
    if (!buffer) throw GraphError(concat(name, ": a weight or state needs a buffer"));
    if (offset > buffer->bytes() || bytes > buffer->bytes() - offset) {
      throw GraphError(concat(name, ": ", bytes, " bytes at offset ", offset,
                              " do not fit a buffer of ", buffer->bytes(), " bytes"));
    }
  }
  Value value;
  value.name = std::move(name);
  value.kind = kind;
  value.info.dtype = dtype;
  value.info.shape = shape;
  value.info.strides = contiguous_strides(dtype, shape);
  value.buffer = std::move(buffer);
  value.buffer_offset = offset;
  return push(std::move(value));
}

Tensor GraphBuilder::weight(std::string name, Dtype dtype, const Shape& shape,
                            std::shared_ptr<Buffer> buffer, std::size_t offset) {
  return leaf(ValueKind::weight, std::move(name), dtype, shape, std::move(buffer), offset);
}

Tensor GraphBuilder::state(std::string name, Dtype dtype, const Shape& shape,
                           std::shared_ptr<Buffer> buffer, std::size_t offset) {
  return leaf(ValueKind::state, std::move(name), dtype, shape, std::move(buffer), offset);
}

Tensor GraphBuilder::input(std::string name, Dtype dtype, const Shape& shape) {
  return leaf(ValueKind::input, std::move(name), dtype, shape, nullptr, 0);
}

Tensor GraphBuilder::reshape(Tensor x, const Shape& shape) {
  const Value& source = checked(x);
  auto fail = [&](std::string_view why) {
    throw GraphError(concat("reshape(", describe_input(source), ") to ", shape, ": ", why));
  };
  if (shape.elements() != source.info.shape.elements()) fail("the element counts differ");
  if (!contiguous(source.info)) fail("the tensor is not contiguous");
  if (source.info.compact() && shape[0] != source.info.shape[0]) {
    fail("a compact tensor keeps its leading extent");
  }
  if (source.info.is_rows) fail("Rows have no other shape");
  Value value;
  value.name = source.name;
  value.kind = ValueKind::view;
  value.info = source.info;
  value.info.shape = shape;
  value.info.strides = contiguous_strides(source.info.dtype, shape);
  value.base = x.id;
  return push(std::move(value));
}

Tensor GraphBuilder::slice(Tensor x, std::int64_t begin, std::int64_t end) {
  const Value& source = checked(x);
  auto fail = [&](std::string_view why) {
    throw GraphError(
        concat("slice(", describe_input(source), ") from ", begin, " to ", end, ": ", why));
  };
  if (source.info.compact() || source.info.is_rows)
    fail("a compact tensor's rows are not known yet");
  if (begin < 0 || end <= begin || end > source.info.shape[0])
    fail("not a range of the leading extent");
  std::array<std::int64_t, kMaxRank> extents{};
  std::copy_n(source.info.shape.extents().begin(), source.info.shape.rank(), extents.begin());
  extents[0] = end - begin;
  // A rank-1 quantized tensor has no whole blocks at every offset.
  if (source.info.shape.rank() == 1 && dtype_info(source.info.dtype).quantized)
    fail("would split a block");
  Value value;
  value.name = source.name;
  value.kind = ValueKind::view;
  value.info = source.info;
  value.info.shape = Shape(std::span<const std::int64_t>(
      extents.data(), static_cast<std::size_t>(source.info.shape.rank())));
  value.base = x.id;
  value.base_offset = static_cast<std::size_t>(begin * source.info.strides[0]);
  return push(std::move(value));
}

Tensor GraphBuilder::add(std::shared_ptr<const Op> op, std::span<const Tensor> inputs) {
  Node node;
  std::vector<ValueInfo> infos;
  for (const Tensor input : inputs) {
    infos.push_back(input ? checked(input).info : ValueInfo{});
    node.inputs.push_back(input.id);
  }
  Value value;
  try {
    const OutputInfo output = op->infer(infos);
    value.info.dtype = output.dtype;
    value.info.shape = output.shape;
    value.info.strides = contiguous_strides(output.dtype, output.shape);
    value.info.rows = output.rows;
    value.info.is_rows = output.is_rows;
  } catch (const Error& error) {
    std::string call = concat(op->name(), "(");
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (i > 0) call += ", ";
      call += inputs[i] ? describe_input(graph_.value(inputs[i].id)) : "-";
    }
    throw GraphError(concat(call, "): ", error.what()));
  }
  const auto id = static_cast<NodeId>(graph_.nodes_.size());
  value.name = concat(op->name(), ".", id);
  value.producer = id;
  const Aliasing aliasing = op->aliasing();
  if (aliasing.kind == Aliasing::Kind::mutates) {
    const ValueId target = node.inputs[static_cast<std::size_t>(aliasing.input)];
    if (graph_.value(graph_.root(target)).kind != ValueKind::state) {
      throw GraphError(concat(op->name(), ": only a state can be changed, and ",
                              graph_.value(target).name, " is not one"));
    }
    value.base = target;
  }
  node.op = std::move(op);
  const Tensor result = push(std::move(value));
  node.output = result.id;
  graph_.nodes_.push_back(std::move(node));
  return result;
}

Tensor GraphBuilder::name(Tensor x, std::string name) {
  checked(x);
  graph_.values_[static_cast<std::size_t>(x.id)].name = std::move(name);
  return x;
}

void GraphBuilder::output(Tensor x) {
  checked(x);
  graph_.values_[static_cast<std::size_t>(x.id)].output = true;
}

std::shared_ptr<const Graph> GraphBuilder::build() {
  // Walk back from what a run leaves behind: outputs, and changes of state.
  std::vector<bool> needed_value(graph_.values_.size(), false);
  std::vector<bool> needed_node(graph_.nodes_.size(), false);
  auto need = [&](ValueId id) {
    for (; id != kNoValue; id = graph_.value(id).base)
      needed_value[static_cast<std::size_t>(id)] = true;
  };
  for (std::size_t i = 0; i < graph_.values_.size(); ++i) {
    if (graph_.values_[i].output) need(static_cast<ValueId>(i));
  }
  for (std::size_t i = graph_.nodes_.size(); i-- > 0;) {
    const Node& node = graph_.nodes_[i];
    const bool changes_state = node.op->aliasing().kind == Aliasing::Kind::mutates;
    if (!changes_state && !needed_value[static_cast<std::size_t>(node.output)]) continue;
    needed_node[i] = true;
    for (const ValueId input : node.inputs) need(input);
  }
  auto graph = std::make_shared<Graph>();
  std::vector<NodeId> new_id(graph_.nodes_.size(), kNoNode);
  for (std::size_t i = 0; i < graph_.nodes_.size(); ++i) {
    if (!needed_node[i]) continue;
    new_id[i] = static_cast<NodeId>(graph->nodes_.size());
    graph->nodes_.push_back(std::move(graph_.nodes_[i]));
  }
  graph->values_ = std::move(graph_.values_);
  for (Value& value : graph->values_) {
    if (value.producer != kNoNode)
      value.producer = new_id[static_cast<std::size_t>(value.producer)];
  }
  graph_ = Graph();
  return graph;
}

}  // namespace l2a
