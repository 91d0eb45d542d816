// One head of a token, by a warp: bias, head norm and RoPE; pairs of RoPE lie side by side over the lanes.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/fused_parts.h"

namespace l2a::cuda {

constexpr int kHeadPairs = kMostHeadDims / 2 / 32;  // that a lane holds at most

// store(place, value) is called for each of the head's values.
template <class Store>
__device__ inline void finish_head(const FinishHeads& call, const HeadPart& part, int token,
                                   int heads, int head, bool turns, Store store) {
  const int lane = static_cast<int>(threadIdx.x) % 32, pairs = call.dim / 2;
  const float* from = part.x + (static_cast<std::int64_t>(token) * heads + head) * call.dim;
  float a[kHeadPairs], b[kHeadPairs], sum = 0;
  int first[kHeadPairs], second[kHeadPairs];
#pragma unroll
  for (int i = 0; i < kHeadPairs; ++i) {
    const int pair = lane + 32 * i;
    first[i] = call.half ? pair : 2 * pair;
    second[i] = call.half ? pair + pairs : 2 * pair + 1;
    a[i] = b[i] = 0;
    if (pair >= pairs) continue;
    a[i] = from[first[i]];
    b[i] = from[second[i]];
    if (part.bias != nullptr) {
      a[i] += part.bias[head * call.dim + first[i]];
      b[i] += part.bias[head * call.dim + second[i]];
    }
    sum += a[i] * a[i] + b[i] * b[i];
  }
  if (part.norm != nullptr) {
    const float scale = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(call.dim) + call.eps);
#pragma unroll
    for (int i = 0; i < kHeadPairs; ++i) {
      if (lane + 32 * i >= pairs) continue;
      a[i] *= scale * part.norm[first[i]];
      b[i] *= scale * part.norm[second[i]];
    }
  }
  const auto* table =
      reinterpret_cast<const float2*>(call.table) + static_cast<std::int64_t>(token) * pairs;
#pragma unroll
  for (int i = 0; i < kHeadPairs; ++i) {
    if (lane + 32 * i >= pairs) continue;
    if (turns) {
      const float2 turn = table[lane + 32 * i];
      const float left = a[i] * turn.x - b[i] * turn.y;
      b[i] = b[i] * turn.x + a[i] * turn.y;
      a[i] = left;
    }
    store(first[i], a[i]);
    store(second[i], b[i]);
  }
}

// Where a key or value of a token goes in its cache; null for a token whose slot a later one takes (kv_append.cu).
template <class T>
__device__ inline T* cache_place(const FinishHeads& call, std::byte* cache, int token, int head) {
  const int position = call.positions[token], ring = call.capacity - call.sinks;
  if (position >= call.sinks && call.tokens - token > ring) return nullptr;
  const int slot = position < call.sinks ? position : call.sinks + (position - call.sinks) % ring;
  return reinterpret_cast<T*>(cache) +
         (static_cast<std::int64_t>(slot) * call.key_heads + head) * call.dim;
}

}  // namespace l2a::cuda
