// The gate of a SwiGLU MLP: silu(gate) * up, with silu(x) = x / (1 + exp(-x)).
#pragma once

#include "graph/graph.h"

namespace l2a {

struct SiluMul final : Op {
  static constexpr std::string_view kName = "silu_mul";
  enum Input { kGate, kUp };

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Aliasing aliasing() const override { return {Aliasing::Kind::in_place, kGate}; }
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// gate and up f32 [T, F] -> f32 [T, F].
Tensor silu_mul(GraphBuilder& graph, Tensor gate, Tensor up);

}  // namespace l2a
