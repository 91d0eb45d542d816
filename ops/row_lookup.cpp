#include "ops/row_lookup.h"

#include "ops/check.h"
#include "ops/dequantize.h"

namespace l2a {

OutputInfo RowLookup::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &table = inputs[kTable], &ids = inputs[kIds];
  require_rank(table, 2, "the table");
  require(table.dtype != Dtype::i32, "the table must hold floating-point or quantized values");
  require_rank(ids, 1, "the indices");
  require(ids.dtype == Dtype::i32 && !ids.is_rows, "the indices must be i32");
  return {Dtype::f32, {ids.shape[0], table.shape[1]}};
}

Cost RowLookup::cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
                     const CostHints& hints) const {
  const double row =
      static_cast<double>(dtype_bytes(inputs[kTable].dtype, inputs[kTable].shape[1]));
  return {0, row * static_cast<double>(output.shape[0]) + operand_bytes(output, hints)};
}

void RowLookup::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView &table = inputs[kTable], &ids = inputs[kIds];
  const auto width = static_cast<std::size_t>(table.shape[1]);
  const std::size_t row_bytes = dtype_bytes(table.dtype, table.shape[1]);
  for (std::int64_t t = 0; t < output.shape[0]; ++t) {
    const std::int64_t id = *ids.row<const std::int32_t>(t);
    dequantize_row(table.dtype, {table.row<const std::byte>(id), row_bytes},
                   {output.row<float>(t), width});
  }
}

Tensor row_lookup(GraphBuilder& graph, Tensor table, Tensor ids) {
  return graph.add(std::make_shared<RowLookup>(), {table, ids});
}

}  // namespace l2a
