// Adds compact rows to where they came from. In place nothing but the routed rows is touched.
#include "ops/scatter_add_rows.h"

#include <cstring>

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const TensorView &x = call.inputs[ScatterAddRows::kX],
                   &delta = call.inputs[ScatterAddRows::kDelta];
  const TensorView& rows = call.inputs[ScatterAddRows::kRows];
  const std::int64_t width = x.shape[1];
  if (call.output.data != x.data) {
    std::memcpy(call.output.data, x.data, dtype_bytes(x.dtype, x.shape.elements()));
  }
  const std::int64_t count = active_rows(rows, x.shape[0]);
  call.pool.parallel_for(count, row_grain(width * 12), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* from = delta.row<const float>(i);
      float* to = call.output.row<float>(token_of_row(rows, i));
      for (std::int64_t k = 0; k < width; ++k) to[k] += from[k];
    }
  });
}

}  // namespace

const CpuKernel kScatterAddRows = {ScatterAddRows::kName, run};

}  // namespace l2a::cpu
