// Adds the count of a Rows to one element of a state: how the routed share is known at the end of a
// run without reading anything back at each token.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct CountRows final : Op {
  static constexpr std::string_view kName = "count_rows";
  enum Input { kTally, kRows };

  explicit CountRows(std::int64_t i) : index(i) {}
  const std::int64_t index;

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Aliasing aliasing() const override { return {Aliasing::Kind::mutates, kTally}; }
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// tally (a state) i32 [L]: tally[index] += count of rows. Result: the tally.
Tensor count_rows(GraphBuilder& graph, Tensor tally, Rows rows, std::int64_t index);

}  // namespace l2a
