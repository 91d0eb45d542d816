#include "ops/rms_norm.h"

#include <cmath>

#include "ops/check.h"

namespace l2a {

OutputInfo RmsNorm::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &x = inputs[kX], &weight = inputs[kWeight];
  require_f32(x, "the input");
  require(x.shape.rank() == 2 || x.shape.rank() == 3, "the input must be [T, E] or [T, H, D]");
  require_f32(weight, "the weight");
  require_rank(weight, 1, "the weight");
  require(weight.shape[0] == x.shape.back(),
          "the weight must have the innermost extent of the input");
  require(eps >= 0 && std::isfinite(eps), "epsilon must be finite and not negative");
  require_rows_of(x, inputs[kRows]);
  return {Dtype::f32, x.shape, x.rows};
}

Cost RmsNorm::cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
                   const CostHints& hints) const {
  Cost cost = Op::cost(inputs, output, hints);
  cost.operations = operand_bytes(output, hints);  // four operations an element of four bytes
  return cost;
}

void RmsNorm::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView& x = inputs[kX];
  const float* weight = inputs[kWeight].row<const float>(0);
  const std::int64_t width = x.shape.back();
  const std::int64_t heads = x.shape.rank() == 3 ? x.shape[1] : 1;
  const std::int64_t rows = active_rows(inputs[kRows], x.shape[0]);
  for (std::int64_t t = 0; t < rows; ++t) {
    for (std::int64_t h = 0; h < heads; ++h) {
      const float* from = x.row<const float>(t) + h * width;
      float* to = output.row<float>(t) + h * width;
      float sum = 0;
      for (std::int64_t i = 0; i < width; ++i) sum += from[i] * from[i];
      const float scale = 1.0f / std::sqrt(sum / static_cast<float>(width) + eps);
      for (std::int64_t i = 0; i < width; ++i) to[i] = from[i] * scale * weight[i];
    }
  }
}

Tensor rms_norm(GraphBuilder& graph, Tensor x, Tensor weight, float eps) {
  return graph.add(std::make_shared<RmsNorm>(eps), {x, weight, graph.rows_of(x)});
}

}  // namespace l2a
