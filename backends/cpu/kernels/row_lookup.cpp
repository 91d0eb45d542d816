// Rows of a table, widened to f32: a copy of a few kilobytes a token.
#include "ops/row_lookup.h"

#include "backends/cpu/kernels/kernels.h"
#include "ops/dequantize.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const TensorView &table = call.inputs[RowLookup::kTable], &ids = call.inputs[RowLookup::kIds];
  const std::int64_t width = table.shape[1];
  const std::size_t row_bytes = dtype_bytes(table.dtype, width);
  call.pool.parallel_for(
      call.output.shape[0], row_grain(width * 4), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
          const std::int64_t id = *ids.row<const std::int32_t>(t);
          dequantize_row(table.dtype, {table.row<const std::byte>(id), row_bytes},
                         {call.output.row<float>(t), static_cast<std::size_t>(width)});
        }
      });
}

}  // namespace

const CpuKernel kRowLookup = {RowLookup::kName, run};

}  // namespace l2a::cpu
