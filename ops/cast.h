// Another floating-point dtype for the same values, or, to the same dtype, a contiguous copy of a
// view.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct Cast final : Op {
  static constexpr std::string_view kName = "cast";
  enum Input { kX };

  explicit Cast(Dtype to) : dtype(to) {}
  const Dtype dtype;

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// x f32, f16 or bf16, full -> the same shape in `dtype`, one of the three or, for fresh keys beside such a cache, q8_0.
// Rounds to nearest even.
Tensor cast(GraphBuilder& graph, Tensor x, Dtype dtype);
// A contiguous copy.
Tensor copy(GraphBuilder& graph, Tensor x);

}  // namespace l2a
