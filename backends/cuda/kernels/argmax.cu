// Index of the largest value of each row: the first of equals, NaN only where there is nothing else. A block of 1024 a
// row; bound by reading it once.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/argmax.h"

namespace l2a::cuda {
namespace {

struct Best {
  float value;
  int index;
};

// Whether b comes before a. In a row of NaN alone the last counts, as in ops/argmax.cpp.
__device__ bool better(Best b, Best a) {
  if (isnan(a.value) != isnan(b.value)) return isnan(a.value);
  if (isnan(a.value)) return b.index > a.index;
  return b.value > a.value || (b.value == a.value && b.index < a.index);
}

__device__ Best warp_best(Best best) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const Best other = {__shfl_xor_sync(kAllLanes, best.value, offset),
                        __shfl_xor_sync(kAllLanes, best.index, offset)};
    if (better(other, best)) best = other;
  }
  return best;
}

__global__ void argmax(const float* x, std::int32_t* out, int width) {
  __shared__ Best parts[32];
  const float* row = x + static_cast<std::int64_t>(blockIdx.x) * width;
  Best best = {nanf(""), -1};
  for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x)) {
    const Best one = {row[i], i};
    if (better(one, best)) best = one;
  }
  best = warp_best(best);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) parts[warp] = best;
  __syncthreads();
  if (warp != 0) return;
  best = warp_best(parts[lane]);
  if (lane == 0) out[blockIdx.x] = best.index;
}

void run(const CudaCall& call) {
  const TensorView& x = call.inputs[Argmax::kX];
  argmax<<<static_cast<unsigned>(x.shape[0]), 1024, 0, call.stream>>>(
      call.in<float>(Argmax::kX), call.out<std::int32_t>(), static_cast<int>(x.shape[1]));
  check_launch("argmax");
}

}  // namespace

const CudaKernel kArgmax = {Argmax::kName, run};

}  // namespace l2a::cuda
