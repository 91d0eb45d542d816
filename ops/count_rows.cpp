#include "ops/count_rows.h"

#include "ops/check.h"

namespace l2a {

OutputInfo CountRows::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &tally = inputs[kTally], &rows = inputs[kRows];
  require_rank(tally, 1, "the tally");
  require(tally.dtype == Dtype::i32 && !tally.is_rows, "the tally must be i32");
  require(rows.present() && rows.is_rows, "the second input must be Rows");
  require(index >= 0 && index < tally.shape[0], "the index must be inside the tally");
  return {Dtype::i32, tally.shape};
}

Cost CountRows::cost(std::span<const ValueInfo> /*inputs*/, const OutputInfo& /*output*/,
                     const CostHints& /*hints*/) const {
  return {1, 12};
}

void CountRows::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  *output.row<std::int32_t>(index) += *inputs[kRows].row<const std::int32_t>(0);
}

Tensor count_rows(GraphBuilder& graph, Tensor tally, Rows rows, std::int64_t index) {
  return graph.add(std::make_shared<CountRows>(index), {tally, Tensor{rows.id}});
}

}  // namespace l2a
