// Which tokens look back: a float32 dot product for each, then the indices of those at or above the cut, ascending, and
// their count, all in device memory. First a warp a token leaves a flag; then one block counts before each stretch of
// flags and writes. Bound by reading x once; the compaction reads four bytes a token.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/route.h"

namespace l2a::cuda {
namespace {

constexpr int kFlagThreads = 256, kCompactThreads = 1024;

__global__ void flag_routed(const float* x, const float* weight, const float* bias, float cut,
                            int tokens, int width, std::int32_t* flags) {
  constexpr int kWarps = kFlagThreads / 32;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int token = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  if (token >= tokens) return;
  const float* from = x + static_cast<std::int64_t>(token) * width;
  float logit = 0;
  for (int i = lane; i < width; i += 32) logit += from[i] * weight[i];
  logit = warp_sum(logit) + (bias != nullptr ? *bias : 0.0f);
  if (lane == 0) flags[token] = logit >= cut ? 1 : 0;
}

__global__ void compact(const std::int32_t* flags, int tokens, std::int32_t* rows) {
  __shared__ int warp_counts[32];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  int before = 0;  // routed tokens of earlier stretches
  for (int begin = 0; begin < tokens; begin += kCompactThreads) {
    const int token = begin + thread;
    const bool routed = token < tokens && flags[token] != 0;
    const unsigned ballot = __ballot_sync(kAllLanes, routed);
    __syncthreads();  // the last stretch's counts have been read
    if (lane == 0) warp_counts[warp] = __popc(ballot);
    __syncthreads();
    int in_warps = warp_counts[lane];  // inclusive sums over warps
    for (int offset = 1; offset < 32; offset *= 2) {
      const int lower = __shfl_up_sync(kAllLanes, in_warps, offset);
      if (lane >= offset) in_warps += lower;
    }
    const int earlier = __shfl_sync(kAllLanes, in_warps, warp) - __popc(ballot);
    if (routed) rows[1 + before + earlier + __popc(ballot & ((1u << lane) - 1))] = token;
    before += __shfl_sync(kAllLanes, in_warps, 31);
  }
  if (thread == 0) rows[0] = before;
}

// A single token: no flags, no second launch.
__global__ void route_one(const float* x, const float* weight, const float* bias, float cut,
                          int width, std::int32_t* rows) {
  float logit = 0;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x))
    logit += x[i] * weight[i];
  logit = block_sum(logit);
  if (threadIdx.x != 0) return;
  rows[0] = logit + (bias != nullptr ? *bias : 0.0f) >= cut ? 1 : 0;
  rows[1] = 0;
}

std::size_t workspace_bytes(const CudaCall& call) {
  return static_cast<std::size_t>(call.inputs[Route::kX].shape[0]) * sizeof(std::int32_t);
}

void run(const CudaCall& call) {
  const TensorView& x = call.inputs[Route::kX];
  const int tokens = static_cast<int>(x.shape[0]), width = static_cast<int>(x.shape[1]);
  const float cut = call.attributes<Route>().cut;
  const auto *from = call.in<float>(Route::kX), *weight = call.in<float>(Route::kWeight),
             *bias = call.in<float>(Route::kBias);
  if (tokens == 1) {
    route_one<<<1, 512, 0, call.stream>>>(from, weight, bias, cut, width, call.out<std::int32_t>());
    check_launch("route");
    return;
  }
  auto* flags = reinterpret_cast<std::int32_t*>(call.workspace);
  flag_routed<<<static_cast<unsigned>((tokens + 7) / 8), kFlagThreads, 0, call.stream>>>(
      from, weight, bias, cut, tokens, width, flags);
  check_launch("route");
  compact<<<1, kCompactThreads, 0, call.stream>>>(flags, tokens, call.out<std::int32_t>());
  check_launch("route");
}

}  // namespace

const CudaKernel kRoute = {Route::kName, run, workspace_bytes};

}  // namespace l2a::cuda
