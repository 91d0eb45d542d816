// The rows of a tensor that a Rows names, compact: row i of the result is row rows[i] of the input.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct GatherRows final : Op {
  static constexpr std::string_view kName = "gather_rows";
  enum Input { kX, kRows };

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// x f32 [T, E], full; rows over the same T -> f32 [T, E], compact.
Tensor gather_rows(GraphBuilder& graph, Tensor x, Rows rows);

}  // namespace l2a
