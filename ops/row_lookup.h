// Rows of a table by index: token embeddings. The table may have any dtype; the result is f32.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct RowLookup final : Op {
  static constexpr std::string_view kName = "row_lookup";
  enum Input { kTable, kIds };

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// table [V, E], ids i32 [T] -> f32 [T, E]. The caller guarantees 0 <= id < V.
Tensor row_lookup(GraphBuilder& graph, Tensor table, Tensor ids);

}  // namespace l2a
