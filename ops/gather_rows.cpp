#include "ops/gather_rows.h"

#include <cstring>

#include "ops/check.h"

namespace l2a {

OutputInfo GatherRows::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &x = inputs[kX], &rows = inputs[kRows];
  require_f32(x, "the input");
  require_rank(x, 2, "the input");
  require(!x.compact(), "the input is compact already");
  require(rows.present() && rows.is_rows, "the second input must be Rows");
  require(rows.shape[0] == 1 + x.shape[0], "the Rows are of another number of tokens");
  return {Dtype::f32, x.shape, rows.id};
}

Cost GatherRows::cost(std::span<const ValueInfo> /*inputs*/, const OutputInfo& output,
                      const CostHints& hints) const {
  return {0, 2 * operand_bytes(output, hints)};
}

void GatherRows::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView &x = inputs[kX], &rows = inputs[kRows];
  const std::size_t bytes = dtype_bytes(x.dtype, x.shape[1]);
  for (std::int64_t i = 0; i < active_rows(rows, x.shape[0]); ++i) {
    std::memcpy(output.row<std::byte>(i), x.row<const std::byte>(token_of_row(rows, i)), bytes);
  }
}

Tensor gather_rows(GraphBuilder& graph, Tensor x, Rows rows) {
  return graph.add(std::make_shared<GatherRows>(), {x, Tensor{rows.id}});
}

}  // namespace l2a
