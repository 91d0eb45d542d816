// Index of the largest value of each row, the lowest where several are equal; NaN is never the
// largest.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct Argmax final : Op {
  static constexpr std::string_view kName = "argmax";
  enum Input { kX };

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// x f32 [T, V] -> i32 [T].
Tensor argmax(GraphBuilder& graph, Tensor x);

}  // namespace l2a
