// One head of a token: bias, head norm and RoPE, whose pairs lie side by side over the lanes.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/fused_parts.h"

namespace l2a::cuda {

// Of the heads of a token, `head`, by as many lanes as are given, each with up to kHeadPairs pairs; store(place, value) is
// called for each of the head's values. All lanes of a warp call it.
constexpr int kHeadPairs = 4;
template <int lanes, class Store>
__device__ inline void finish_head(const FinishHeads& call, const HeadPart& part, int token,
                                   int heads, int head, bool turns, Store store) {
  const int lane = static_cast<int>(threadIdx.x) % lanes, pairs = call.dim / 2;
  const float* from = part.x + (static_cast<std::int64_t>(token) * heads + head) * call.dim;
  const auto* table =
      reinterpret_cast<const float2*>(call.table) + static_cast<std::int64_t>(token) * pairs;
  // All that is read is on its way before the first of it is used.
  float a[kHeadPairs], b[kHeadPairs], bias_a[kHeadPairs], bias_b[kHeadPairs], norm_a[kHeadPairs],
      norm_b[kHeadPairs];
  float2 turn[kHeadPairs];
  int first[kHeadPairs], second[kHeadPairs];
#pragma unroll
  for (int i = 0; i < kHeadPairs; ++i) {
    const int pair = lane + lanes * i;
    first[i] = call.half ? pair : 2 * pair;
    second[i] = call.half ? pair + pairs : 2 * pair + 1;
    const bool there = pair < pairs, biased = there && part.bias != nullptr;
    const bool normed = there && part.norm != nullptr;
    a[i] = there ? from[first[i]] : 0.0f;
    b[i] = there ? from[second[i]] : 0.0f;
    bias_a[i] = biased ? part.bias[head * call.dim + first[i]] : 0.0f;
    bias_b[i] = biased ? part.bias[head * call.dim + second[i]] : 0.0f;
    norm_a[i] = normed ? part.norm[first[i]] : 1.0f;
    norm_b[i] = normed ? part.norm[second[i]] : 1.0f;
    turn[i] = there && turns ? table[pair] : float2{1, 0};
  }
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kHeadPairs; ++i) {
    a[i] += bias_a[i];
    b[i] += bias_b[i];
    sum += a[i] * a[i] + b[i] * b[i];
  }
#pragma unroll
  for (int offset = lanes / 2; offset > 0; offset /= 2)
    sum += __shfl_xor_sync(kAllLanes, sum, offset);
  const float scale =
      part.norm != nullptr ? 1.0f / sqrtf(sum / static_cast<float>(call.dim) + call.eps) : 1.0f;
#pragma unroll
  for (int i = 0; i < kHeadPairs; ++i) {
    if (lane + lanes * i >= pairs) continue;
    a[i] *= scale * norm_a[i];
    b[i] *= scale * norm_b[i];
    store(first[i], a[i] * turn[i].x - b[i] * turn[i].y);
    store(second[i], b[i] * turn[i].x + a[i] * turn[i].y);
  }
}

// Which head of a cache a key or value of a token is, counted from the start; -1 for a token whose slot a later one takes
// (kv_append.cu).
__device__ inline std::int64_t cache_head(const FinishHeads& call, int token, int head) {
  const int position = call.positions[token], ring = call.capacity - call.sinks;
  if (position >= call.sinks && call.tokens - token > ring) return -1;
  const int slot = position < call.sinks ? position : call.sinks + (position - call.sinks) % ring;
  return static_cast<std::int64_t>(slot) * call.key_heads + head;
}

}  // namespace l2a::cuda
