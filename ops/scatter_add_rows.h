// Adds a compact tensor to the rows it came from: y = x, and y[rows[i]] += delta[i].
#pragma once

#include "graph/graph.h"

namespace l2a {

struct ScatterAddRows final : Op {
  static constexpr std::string_view kName = "scatter_add_rows";
  enum Input { kX, kDelta, kRows };

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Aliasing aliasing() const override { return {Aliasing::Kind::in_place, kX}; }
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// x f32 [T, E], full; delta f32 [T, E], compact -> f32 [T, E].
Tensor scatter_add_rows(GraphBuilder& graph, Tensor x, Tensor delta);

}  // namespace l2a
