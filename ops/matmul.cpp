#include "ops/matmul.h"

#include <cmath>
#include <vector>

#include "ops/check.h"
#include "ops/dequantize.h"

namespace l2a {

OutputInfo Matmul::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &x = inputs[kX], &weight = inputs[kWeight];
  require_f32(x, "the left side");
  require_rank(x, 2, "the left side");
  require_rank(weight, 2, "the weight");
  require(weight.dtype != Dtype::i32, "the weight must hold floating-point or quantized values");
  require(!weight.compact(), "the weight cannot be compact");
  require(x.shape[1] == weight.shape[1],
          concat("the inner extents ", x.shape[1], " and ", weight.shape[1], " differ"));
  require_rows_of(x, inputs[kRows]);
  return {Dtype::f32, {x.shape[0], weight.shape[0]}, x.rows};
}

Cost Matmul::cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
                  const CostHints& hints) const {
  Cost cost = Op::cost(inputs, output, hints);
  const double rows =
      static_cast<double>(output.shape[0]) * (inputs[kX].compact() ? hints.routed_share : 1.0);
  if (inputs[kX].compact()) {  // without a row the weight is not read
    const double none = std::pow(1 - hints.routed_share, static_cast<double>(output.shape[0]));
    cost.bytes -= none * operand_bytes(inputs[kWeight], hints);
  }
  cost.operations = 2.0 * rows * static_cast<double>(inputs[kWeight].shape.elements());
  return cost;
}

void Matmul::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView &x = inputs[kX], &weight = inputs[kWeight];
  const std::int64_t inner = weight.shape[1];
  const std::int64_t rows = active_rows(inputs[kRows], x.shape[0]);
  const std::size_t row_bytes = dtype_bytes(weight.dtype, inner);
  std::vector<float> w(static_cast<std::size_t>(inner));
  for (std::int64_t n = 0; n < weight.shape[0]; ++n) {
    dequantize_row(weight.dtype, {weight.row<const std::byte>(n), row_bytes}, w);
    for (std::int64_t t = 0; t < rows; ++t) {
      const float* left = x.row<const float>(t);
      float sum = 0;
      for (std::int64_t k = 0; k < inner; ++k) sum += left[k] * w[static_cast<std::size_t>(k)];
      output.row<float>(t)[n] = sum;
    }
  }
}

Tensor matmul(GraphBuilder& graph, Tensor x, Tensor weight) {
  return graph.add(std::make_shared<Matmul>(), {x, weight, graph.rows_of(x)});
}

}  // namespace l2a
