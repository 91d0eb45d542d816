#include "ops/top_k.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "ops/check.h"

namespace l2a {

OutputInfo TopK::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo& x = inputs[kX];
  require_f32(x, "the input");
  require_rank(x, 2, "the input");
  require(!x.compact(), "the input must be full");
  require(x.shape[1] <= kMostWidth, "the rows are too long for indices in f32");
  require(k >= 1 && k <= x.shape[1], "k is from 1 to the length of a row");
  return {Dtype::f32, {x.shape[0], k, 2}};
}

void TopK::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView& x = inputs[kX];
  std::vector<std::int32_t> order(static_cast<std::size_t>(x.shape[1]));
  for (std::int64_t t = 0; t < x.shape[0]; ++t) {
    const float* row = x.row<const float>(t);
    std::iota(order.begin(), order.end(), 0);
    const auto before = [row](std::int32_t a, std::int32_t b) {
      if (std::isnan(row[a]) != std::isnan(row[b])) return std::isnan(row[a]);
      return std::isnan(row[a]) || row[a] == row[b] ? a < b : row[a] > row[b];
    };
    std::partial_sort(order.begin(), order.begin() + k, order.end(), before);
    float* to = output.row<float>(t);
    for (std::int64_t i = 0; i < k; ++i) {
      const std::int32_t index = order[static_cast<std::size_t>(i)];
      to[2 * i] = row[index];
      to[2 * i + 1] = static_cast<float>(index);
    }
  }
}

Tensor top_k(GraphBuilder& graph, Tensor x, std::int64_t k) {
  return graph.add(std::make_shared<TopK>(k), {x});
}

}  // namespace l2a
