// Sums: residuals (two tensors of one shape) and biases (a vector added to every row).
#pragma once

#include "graph/graph.h"

namespace l2a {

struct Add final : Op {
  static constexpr std::string_view kName = "add";
  enum Input { kA, kB, kRows };

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Aliasing aliasing() const override { return {Aliasing::Kind::in_place, kA}; }
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// a f32 [T, N], b f32 [T, N] (compact exactly when a is, by the same Rows) or [N] -> f32 [T, N].
Tensor add(GraphBuilder& graph, Tensor a, Tensor b);

}  // namespace l2a
