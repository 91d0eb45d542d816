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

constexpr int kPreparedQuads = 2;  // that a thread holds in registers

// Of a thread's places, what does not depend on earlier kernels and need not wait for them.
struct NormWeights {
  float w[kPreparedQuads][4];

  __device__ NormWeights(const Preparation& how, int inner) {
#pragma unroll
    for (int i = 0; i < kPreparedQuads; ++i) {
      const int at = 4 * static_cast<int>(threadIdx.x + i * blockDim.x);
      w[i][0] = w[i][1] = w[i][2] = w[i][3] = 0;
      if (how.norm != nullptr && at < inner) load_four(how.norm + at, w[i]);
    }
  }
};

// take(v, inside, at) is called with four values at a time by whole warps, some of whose lanes may lie past the end.
// Returns whether the token is routed, the same in all blocks; true without a router. Ends with a barrier. meanwhile() is
// called once, when the token is on its way.
template <class Take, class Meanwhile>
__device__ inline bool prepare_token(const Preparation& how, const NormWeights& norm,
                                     const float* x, int inner, Meanwhile meanwhile, Take take) {
  const int thread = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const Router& router = how.router;
  const bool routes = router.weight != nullptr;
  const int stretch = 4 * kPreparedQuads * threads;
  float logit = 0, sum = 0, scale = 1;
  // A token that threads cannot hold is read once more for its norm.
  if (how.norm != nullptr && inner > stretch) {
    for (int at = 4 * thread; at < inner; at += 4 * threads) {
      float v[4];
      load_four(x + at, v);
      sum += v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3];
    }
  }
  for (int begin = 0; begin < inner; begin += stretch) {
    float v[kPreparedQuads][4], w[kPreparedQuads][4], r[kPreparedQuads][4];
#pragma unroll
    for (int i = 0; i < kPreparedQuads; ++i) {
      const int at = begin + 4 * (thread + i * threads);
      const bool inside = at < inner;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        v[i][j] = 0;
        w[i][j] = norm.w[i][j];
      }
      if (inside) load_four(x + at, v[i]);
      if (inside && how.norm != nullptr && begin > 0) load_four(how.norm + at, w[i]);
      if (inside && routes && router.x == nullptr) load_four(router.weight + at, r[i]);
    }
    if (begin == 0) meanwhile();
    if (how.norm != nullptr && begin == 0) {
      if (inner <= stretch) {
#pragma unroll
        for (int i = 0; i < kPreparedQuads; ++i)
          sum += v[i][0] * v[i][0] + v[i][1] * v[i][1] + v[i][2] * v[i][2] + v[i][3] * v[i][3];
      }
      scale = 1.0f / sqrtf(block_sum(sum) / static_cast<float>(inner) + how.eps);
    }
#pragma unroll
    for (int i = 0; i < kPreparedQuads; ++i) {
      if (begin + 4 * i * threads >= inner) break;
      const int at = begin + 4 * (thread + i * threads);
      if (how.norm != nullptr) {
#pragma unroll
        for (int j = 0; j < 4; ++j) v[i][j] *= scale * w[i][j];
      }
      if (at < inner && routes && router.x == nullptr) {
#pragma unroll
        for (int j = 0; j < 4; ++j) logit += v[i][j] * r[i][j];
      }
      take(v[i], at < inner, at);
    }
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
