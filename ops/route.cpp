#include "ops/route.h"

#include <cmath>

#include "ops/check.h"

namespace l2a {

float router_cut(double temperature, double threshold) {
  if (!(temperature > 0) || !std::isfinite(temperature)) {
    throw Error(concat("a router's temperature is above 0, not ", temperature));
  }
  if (!(threshold > 0 && threshold < 1)) {
    throw Error(concat("a router's threshold is between 0 and 1, not ", threshold));
  }
  return static_cast<float>(temperature * std::log(threshold / (1 - threshold)));
}

OutputInfo Route::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &x = inputs[kX], &weight = inputs[kWeight], &bias = inputs[kBias];
  require_f32(x, "the input");
  require_rank(x, 2, "the input");
  require(!x.compact(), "every token is asked, so the input must be full");
  require_f32(weight, "the router's weight");
  require(weight.shape == Shape{1, x.shape[1]},
          concat("the router's weight must be [1, ", x.shape[1], "]"));
  require(!bias.present() || (bias.dtype == Dtype::f32 && bias.shape == Shape{1}),
          "the router's bias must be f32 [1]");
  require(x.shape[0] < INT32_MAX, "too many tokens for i32 indices");
  return {Dtype::i32, {1 + x.shape[0]}, kNoValue, true};
}

Cost Route::cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
                 const CostHints& hints) const {
  Cost cost = Op::cost(inputs, output, hints);
  cost.operations = 2.0 * static_cast<double>(inputs[kX].shape.elements());
  return cost;
}

void Route::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView& x = inputs[kX];
  const float* weight = inputs[kWeight].row<const float>(0);
  const float bias = inputs[kBias] ? *inputs[kBias].row<const float>(0) : 0.0f;
  auto* rows = output.row<std::int32_t>(0);
  std::int32_t count = 0;
  for (std::int64_t t = 0; t < x.shape[0]; ++t) {
    const float* from = x.row<const float>(t);
    float logit = 0;
    for (std::int64_t i = 0; i < x.shape[1]; ++i) logit += from[i] * weight[i];
    if (logit + bias >= cut) rows[1 + count++] = static_cast<std::int32_t>(t);
  }
  rows[0] = count;
}

Rows route(GraphBuilder& graph, Tensor x, Tensor weight, Tensor bias, float cut) {
  return {graph.add(std::make_shared<Route>(cut), {x, weight, bias}).id};
}

}  // namespace l2a
