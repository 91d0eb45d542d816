#include "ops/add.h"

#include "ops/check.h"

namespace l2a {

OutputInfo Add::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &a = inputs[kA], &b = inputs[kB];
  require_f32(a, "the left side");
  require_f32(b, "the right side");
  require_rank(a, 2, "the left side");
  if (b.shape.rank() == 1) {
    require(b.shape[0] == a.shape[1], "a bias must have the innermost extent of the left side");
  } else {
    require(a.shape == b.shape, "the shapes differ");
    require(a.rows == b.rows, "a compact tensor can only be added to one of the same Rows");
  }
  require_rows_of(a, inputs[kRows]);
  return {Dtype::f32, a.shape, a.rows};
}

Cost Add::cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
               const CostHints& hints) const {
  Cost cost = Op::cost(inputs, output, hints);
  cost.operations = operand_bytes(output, hints) / 4;
  return cost;
}

void Add::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView &a = inputs[kA], &b = inputs[kB];
  for (std::int64_t t = 0; t < active_rows(inputs[kRows], a.shape[0]); ++t) {
    const float* left = a.row<const float>(t);
    const float* right = b.row<const float>(b.shape.rank() == 1 ? 0 : t);
    float* to = output.row<float>(t);
    for (std::int64_t i = 0; i < a.shape[1]; ++i) to[i] = left[i] + right[i];
  }
}

Tensor add(GraphBuilder& graph, Tensor a, Tensor b) {
  return graph.add(std::make_shared<Add>(), {a, b, graph.rows_of(a)});
}

}  // namespace l2a
