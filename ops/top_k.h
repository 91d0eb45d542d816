// The k largest values of each row and where they are, so that sampling takes some hundred bytes from a device and not
// the whole row.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct TopK final : Op {
  static constexpr std::string_view kName = "top_k";
  enum Input { kX };
  // Indices are given as f32, which holds those below 2^24 exactly.
  static constexpr std::int64_t kMostWidth = std::int64_t{1} << 24;

  explicit TopK(std::int64_t count) : k(count) {}
  const std::int64_t k;

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// x f32 [T, V], 1 <= k <= V -> f32 [T, k, 2]: values, the largest first and the lowest index first of equals, and their
// indices. NaN counts as larger than everything, so that whoever samples notices it.
Tensor top_k(GraphBuilder& graph, Tensor x, std::int64_t k);

}  // namespace l2a
