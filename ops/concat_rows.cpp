#include "ops/concat_rows.h"

#include <algorithm>

#include "ops/check.h"

namespace l2a {

OutputInfo ConcatRows::infer(std::span<const ValueInfo> inputs) const {
  require(!inputs.empty(), "there must be at least one part");
  std::int64_t rows = 0;
  for (const ValueInfo& part : inputs) {
    require_f32(part, "every part");
    require_rank(part, 2, "every part");
    require(!part.compact(), "every part must be full");
    require(part.shape[1] == inputs[0].shape[1], "all parts must have the same innermost extent");
    rows += part.shape[0];
  }
  return {Dtype::f32, {rows, inputs[0].shape[1]}};
}

void ConcatRows::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  std::int64_t to = 0;
  for (const TensorView& part : inputs) {
    for (std::int64_t t = 0; t < part.shape[0]; ++t)
      std::copy_n(part.row<const float>(t), part.shape[1], output.row<float>(to++));
  }
}

Tensor concat_rows(GraphBuilder& graph, std::span<const Tensor> parts) {
  return parts.size() == 1 ? parts[0] : graph.add(std::make_shared<ConcatRows>(), parts);
}

}  // namespace l2a
