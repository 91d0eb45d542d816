// Products with a weight: y[t, n] = sum over k of x[t, k] * w[n, k], the weight in any dtype,
// accumulated in f32.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct Matmul final : Op {
  static constexpr std::string_view kName = "matmul";
  enum Input { kX, kWeight, kRows };

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// x f32 [T, K], weight [N, K] -> f32 [T, N], compact when x is.
Tensor matmul(GraphBuilder& graph, Tensor x, Tensor weight);

}  // namespace l2a
