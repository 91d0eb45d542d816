#include "ops/argmax.h"

#include "ops/check.h"

namespace l2a {

OutputInfo Argmax::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo& x = inputs[kX];
  require_f32(x, "the input");
  require_rank(x, 2, "the input");
  require(!x.compact(), "the input must be full");
  require(x.shape[1] <= INT32_MAX, "the rows are too long for an i32 index");
  return {Dtype::i32, {x.shape[0]}};
}

void Argmax::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView& x = inputs[kX];
  for (std::int64_t t = 0; t < x.shape[0]; ++t) {
    const float* row = x.row<const float>(t);
    std::int64_t best = 0;
    for (std::int64_t i = 1; i < x.shape[1]; ++i) {
      if (row[i] > row[best] || row[best] != row[best]) best = i;
    }
    *output.row<std::int32_t>(t) = static_cast<std::int32_t>(best);
  }
}

Tensor argmax(GraphBuilder& graph, Tensor x) { return graph.add(std::make_shared<Argmax>(), {x}); }

}  // namespace l2a
