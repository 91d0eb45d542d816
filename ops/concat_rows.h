// Rows of several tensors one below the other: what sequences computed each for itself, put together for what they share.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct ConcatRows final : Op {
  static constexpr std::string_view kName = "concat_rows";

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// Each f32 [T_i, N], full -> f32 [sum of T_i, N]. Of a single part: that part itself.
Tensor concat_rows(GraphBuilder& graph, std::span<const Tensor> parts);

}  // namespace l2a
