// Residuals and biases: bound by memory, one pass.
#include "ops/add.h"

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const TensorView &a = call.inputs[Add::kA], &b = call.inputs[Add::kB];
  const std::int64_t width = a.shape[1];
  const bool bias = b.shape.rank() == 1;
  const std::int64_t rows = active_rows(call.inputs[Add::kRows], a.shape[0]);
  call.pool.parallel_for(rows, row_grain(width * 12), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      const float* left = a.row<const float>(t);
      const float* right = b.row<const float>(bias ? 0 : t);
      float* to = call.output.row<float>(t);
      for (std::int64_t i = 0; i < width; ++i) to[i] = left[i] + right[i];
    }
  });
}

}  // namespace

const CpuKernel kAdd = {Add::kName, run};

}  // namespace l2a::cpu
