// Index of the largest value of each row: the first of equals, NaN only where there is nothing else. Blocks share
// a long row, and the last one to arrive compares their answers; bound by reading it once.
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

constexpr int kThreads = 512;
constexpr int kStretch = 8192;  // values a block takes
constexpr int kMostBlocks = 32;

// The best of a block's threads, in the first warp.
__device__ Best block_best(Best best) {
  __shared__ Best parts[32];
  best = warp_best(best);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  if (lane == 0) parts[warp] = best;
  __syncthreads();
  return warp_best(lane < kThreads / 32 ? parts[lane] : Best{nanf(""), -1});
}

__global__ void __launch_bounds__(kThreads)
    argmax(const float* x, Best* parts, std::uint32_t* counters, std::int32_t* out, int width) {
  __shared__ bool last_to_arrive;
  const int row_index = static_cast<int>(blockIdx.y), blocks = static_cast<int>(gridDim.x);
  const float* row = x + static_cast<std::int64_t>(row_index) * width;
  Best best = {nanf(""), -1};
  for (int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x); i < width;
       i += blocks * kThreads) {
    const Best one = {row[i], i};
    if (better(one, best)) best = one;
  }
  best = block_best(best);
  if (blocks == 1) {
    if (threadIdx.x == 0) out[row_index] = best.index;
    return;
  }
  Best* const row_parts = parts + row_index * kMostBlocks;
  if (threadIdx.x == 0) {
    row_parts[blockIdx.x] = best;
    __threadfence();
    last_to_arrive = atomicAdd(counters + row_index, 1u) == static_cast<unsigned>(blocks - 1);
  }
  __syncthreads();
  if (!last_to_arrive || threadIdx.x >= 32) return;
  __threadfence();
  best = {nanf(""), -1};
  const int lane = static_cast<int>(threadIdx.x);
  if (lane < blocks) best = {__ldcg(&row_parts[lane].value), __ldcg(&row_parts[lane].index)};
  best = warp_best(best);
  if (lane != 0) return;
  out[row_index] = best.index;
  counters[row_index] = 0;
}

std::size_t workspace_bytes(const CudaCall& call) {
  return static_cast<std::size_t>(call.inputs[Argmax::kX].shape[0]) * kMostBlocks * sizeof(Best);
}

void run(const CudaCall& call) {
  const TensorView& x = call.inputs[Argmax::kX];
  const bool counted = x.shape[0] <= static_cast<std::int64_t>(kCounters);
  const dim3 grid(counted ? blocks_for(x.shape[1], kStretch, kMostBlocks) : 1,
                  static_cast<unsigned>(x.shape[0]));
  argmax<<<grid, kThreads, 0, call.stream>>>(
      call.in<float>(Argmax::kX), reinterpret_cast<Best*>(call.workspace), call.counters,
      call.out<std::int32_t>(), static_cast<int>(x.shape[1]));
  check_launch("argmax");
}

}  // namespace

const CudaKernel kArgmax = {Argmax::kName, run, workspace_bytes};

}  // namespace l2a::cuda
