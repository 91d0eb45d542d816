#include "ops/rms_norm.h"

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/row_ops.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const TensorView& x = call.inputs[RmsNorm::kX];
  const float* weight = call.inputs[RmsNorm::kWeight].row<const float>(0);
  const float eps = call.attributes<RmsNorm>().eps;
  const std::int64_t width = x.shape.back();
  const std::int64_t heads = x.shape.rank() == 3 ? x.shape[1] : 1;
  const std::int64_t rows = active_rows(call.inputs[RmsNorm::kRows], x.shape[0]);
  call.pool.parallel_for(rows * heads, row_grain(width * 4),
                         [&](std::int64_t begin, std::int64_t end) {
                           for (std::int64_t i = begin; i < end; ++i) {
                             const float* from = x.row<const float>(i / heads) + i % heads * width;
                             float* to = call.output.row<float>(i / heads) + i % heads * width;
                             norm_row(call.simd, width, from, weight, eps, to);
                           }
                         });
}

}  // namespace

const CpuKernel kRmsNorm = {RmsNorm::kName, run};

}  // namespace l2a::cpu
