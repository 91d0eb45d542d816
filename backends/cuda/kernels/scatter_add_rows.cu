// out = x, and out[rows[i]] += delta[i]. A block a row of delta; those past the count end at once. A Rows lists a token
// once, so that no two blocks meet. Bound by memory, and in place touches routed rows alone.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/scatter_add_rows.h"

namespace l2a::cuda {
namespace {

__global__ void scatter_add_rows(float* out, const float* delta, const std::int32_t* rows,
                                 int width) {
  const int count = rows[0];
  for (int i = static_cast<int>(blockIdx.x); i < count; i += static_cast<int>(gridDim.x)) {
    const float* from = delta + static_cast<std::int64_t>(i) * width;
    float* to = out + static_cast<std::int64_t>(rows[1 + i]) * width;
    for (int k = static_cast<int>(threadIdx.x); k < width; k += static_cast<int>(blockDim.x))
      to[k] += from[k];
  }
}

// A kernel, because chained kernels (chain.cuh) follow kernels only.
__global__ void copy_values(const float* x, float* out, std::int64_t count) {
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x)
    out[i] = x[i];
}

void run(const CudaCall& call) {
  const TensorView& x = call.inputs[ScatterAddRows::kX];
  if (x.data != call.output.data) {
    const std::int64_t count = x.shape.elements();
    copy_values<<<blocks_for(count, 256), 256, 0, call.stream>>>(call.in<float>(ScatterAddRows::kX),
                                                                 call.out<float>(), count);
    check_launch("scatter_add_rows");
  }
  scatter_add_rows<<<blocks_for(x.shape[0], 1), 256, 0, call.stream>>>(
      call.out<float>(), call.in<float>(ScatterAddRows::kDelta),
      call.in<std::int32_t>(ScatterAddRows::kRows), static_cast<int>(x.shape[1]));
  check_launch("scatter_add_rows");
}

}  // namespace

const CudaKernel kScatterAddRows = {ScatterAddRows::kName, run};

}  // namespace l2a::cuda
