// Activations of a single token, made ready by each block for itself: normalized where a norm comes first, and with the
// router's answer where one is asked. Costs every multiprocessor a read of some KiB that the second-level cache holds,
// and saves the launches between which nothing reads memory.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"

namespace l2a::cuda {

__device__ inline void load_four(const float* from, float (&v)[4]) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
}

// take(v, inside, at) is called with four values at a time by whole warps, some of whose lanes may lie past the end.
// Returns whether the token is routed, the same in all blocks; true without a router. Ends with a barrier.
template <class Take>
__device__ inline bool prepare_token(const Preparation& how, const float* x, int inner, Take take) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  float v[4], w[4], scale = 1;
  if (how.norm != nullptr) {
    float sum = 0;
    for (int at = 4 * thread; at < inner; at += 4 * threads) {
      load_four(x + at, v);
      sum += v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3];
    }
    scale = 1.0f / sqrtf(block_sum(sum) / static_cast<float>(inner) + how.eps);
  }
  const Router& router = how.router;
  const bool routes = router.weight != nullptr;
  float logit = 0;
  for (int begin = 0; begin < inner; begin += 4 * threads) {
    const int at = begin + 4 * thread;
    const bool inside = at < inner;
    v[0] = v[1] = v[2] = v[3] = 0;
    if (inside) {
      load_four(x + at, v);
      if (how.norm != nullptr) {
        load_four(how.norm + at, w);
#pragma unroll
        for (int j = 0; j < 4; ++j) v[j] *= scale * w[j];
      }
      if (routes && router.x == nullptr) {
        load_four(router.weight + at, w);
#pragma unroll
        for (int j = 0; j < 4; ++j) logit += v[j] * w[j];
      }
    }
    take(v, inside, at);
  }
  if (!routes) {
    __syncthreads();
    return true;
  }
  if (router.x != nullptr) {
    for (int i = thread; i < router.width; i += threads) logit += router.x[i] * router.weight[i];
  }
  logit = block_sum(logit) + (router.bias != nullptr ? *router.bias : 0.0f);
  const bool routed = logit >= router.cut;
  if (blockIdx.x == 0 && thread == 0) {
    router.rows[0] = routed ? 1 : 0;
    router.rows[1] = 0;
    if (router.tally != nullptr && routed) ++*router.tally;
  }
  return routed;  // block_sum's barrier came after the last take()
}

}  // namespace l2a::cuda
