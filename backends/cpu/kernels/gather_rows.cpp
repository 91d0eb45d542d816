// Copies the routed rows together.
#include "ops/gather_rows.h"

#include <cstring>

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const TensorView &x = call.inputs[GatherRows::kX], &rows = call.inputs[GatherRows::kRows];
  const std::size_t bytes = dtype_bytes(x.dtype, x.shape[1]);
  const std::int64_t count = active_rows(rows, x.shape[0]);
  call.pool.parallel_for(count, row_grain(static_cast<std::int64_t>(bytes)),
                         [&](std::int64_t begin, std::int64_t end) {
                           for (std::int64_t i = begin; i < end; ++i) {
                             std::memcpy(call.output.row<std::byte>(i),
                                         x.row<const std::byte>(token_of_row(rows, i)), bytes);
                           }
                         });
}

}  // namespace

const CpuKernel kGatherRows = {GatherRows::kName, run};

}  // namespace l2a::cpu
