#include "ops/scatter_add_rows.h"

#include <cstring>

#include "ops/check.h"

namespace l2a {

OutputInfo ScatterAddRows::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &x = inputs[kX], &delta = inputs[kDelta];
  require_f32(x, "the input");
  require_rank(x, 2, "the input");
  require_f32(delta, "the addend");
  require(!x.compact(), "the input must be full");
  require(delta.compact(), "the addend must be compact");
  require(delta.shape == x.shape, "the shapes differ");
  require_rows_of(delta, inputs[kRows]);
  return {Dtype::f32, x.shape};
}

Cost ScatterAddRows::cost(std::span<const ValueInfo> inputs, const OutputInfo& /*output*/,
                          const CostHints& hints) const {
  const double bytes =
      operand_bytes(inputs[kDelta], hints);  // in place: what is not routed is not touched
  return {bytes / 4, 3 * bytes};
}

void ScatterAddRows::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView &x = inputs[kX], &delta = inputs[kDelta], &rows = inputs[kRows];
  if (output.data != x.data) {
    for (std::int64_t t = 0; t < x.shape[0]; ++t) {
      std::memcpy(output.row<float>(t), x.row<const float>(t), dtype_bytes(x.dtype, x.shape[1]));
    }
  }
  for (std::int64_t i = 0; i < active_rows(rows, x.shape[0]); ++i) {
    float* to = output.row<float>(token_of_row(rows, i));
    const float* from = delta.row<const float>(i);
    for (std::int64_t k = 0; k < x.shape[1]; ++k) to[k] += from[k];
  }
}

Tensor scatter_add_rows(GraphBuilder& graph, Tensor x, Tensor delta) {
  return graph.add(std::make_shared<ScatterAddRows>(), {x, delta, graph.rows_of(delta)});
}

}  // namespace l2a
