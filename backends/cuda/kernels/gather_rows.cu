// Copies the rows that a Rows lists. A block a row; those past the count end at once. Bound by memory: a read and a
// write of four bytes an element of a listed row.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/gather_rows.h"

namespace l2a::cuda {
namespace {

__global__ void gather_rows(const float* x, float* out, const std::int32_t* rows, int width) {
  const int count = rows[0];
  for (int i = static_cast<int>(blockIdx.x); i < count; i += static_cast<int>(gridDim.x)) {
    const float* from = x + static_cast<std::int64_t>(rows[1 + i]) * width;
    float* to = out + static_cast<std::int64_t>(i) * width;
    for (int k = static_cast<int>(threadIdx.x); k < width; k += static_cast<int>(blockDim.x))
      to[k] = from[k];
  }
}

void run(const CudaCall& call) {
  const int width = static_cast<int>(call.output.shape[1]);
  gather_rows<<<blocks_for(call.output.shape[0], 1), 256, 0, call.stream>>>(
      call.in<float>(GatherRows::kX), call.out<float>(), call.in<std::int32_t>(GatherRows::kRows),
      width);
  check_launch("gather_rows");
}

}  // namespace

const CudaKernel kGatherRows = {GatherRows::kName, run};

}  // namespace l2a::cuda
