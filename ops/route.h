// The router: which tokens look back. Token t is routed when x[t] . w + b >= cut, with
// cut = temperature * ln(threshold / (1 - threshold)), which is sigmoid(logit / temperature) >=
// threshold. Equality routes. Always float32: the decision is discrete (arXiv 2603.17484; design
// section 2).
#pragma once

#include "graph/graph.h"

namespace l2a {

// Throws Error unless temperature > 0 and 0 < threshold < 1.
float router_cut(double temperature, double threshold);

struct Route final : Op {
  static constexpr std::string_view kName = "route";
  enum Input { kX, kWeight, kBias };

  explicit Route(float c) : cut(c) {}
  const float cut;

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// x f32 [T, E], weight f32 [1, E], bias f32 [1] or none -> Rows of at most T tokens. A NaN logit
// does not route.
Rows route(GraphBuilder& graph, Tensor x, Tensor weight, Tensor bias, float cut);

}  // namespace l2a
