// Root-mean-square norm over the innermost extent: y = x / sqrt(mean(x^2) + eps) * weight.
// On [T, E] it is a layer's norm, on [T, H, D] the per-head norm of queries and keys in Qwen3.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct RmsNorm final : Op {
  static constexpr std::string_view kName = "rms_norm";
  enum Input { kX, kWeight, kRows };

  explicit RmsNorm(float epsilon) : eps(epsilon) {}
  const float eps;

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Aliasing aliasing() const override { return {Aliasing::Kind::in_place, kX}; }
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// x f32 [T, E] or [T, H, D], weight f32 of the innermost extent -> the shape of x, compact when x
// is.
Tensor rms_norm(GraphBuilder& graph, Tensor x, Tensor weight, float eps);

}  // namespace l2a
