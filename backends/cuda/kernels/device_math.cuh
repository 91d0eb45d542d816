// Small things that kernels share: launch sizes, rows of compact tensors, reductions, 16-byte loads.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>

namespace l2a::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

inline unsigned blocks_for(std::int64_t items, std::int64_t per_block, std::int64_t most = 65535) {
  return static_cast<unsigned>(
      std::clamp<std::int64_t>((items + per_block - 1) / per_block, 1, most));
}

inline bool aligned16(const void* address) {
  return (reinterpret_cast<std::uintptr_t>(address) & 15) == 0;
}

// Rows that exist of a tensor of at most `limit`, under a Rows or null.
__device__ inline int active_rows(const std::int32_t* rows, int limit) {
  return rows != nullptr ? rows[0] : limit;
}
__device__ inline int token_of(const std::int32_t* rows, int i) {
  return rows != nullptr ? rows[1 + i] : i;
}

__device__ inline float warp_sum(float v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
}
__device__ inline float warp_max(float v) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2)
    v = fmaxf(v, __shfl_xor_sync(kAllLanes, v, offset));
  return v;
}

// An integer of a magnitude under 2^22 as a float, by way of the bits of 1.5 * 2^23: conversions are several times slower
// than an integer sum and a float one.
__device__ inline float small_float(int q) { return __int_as_float(0x4b400000 + q) - 12582912.0f; }

// Sum over a block of whole warps, in every thread. All threads call it.
__device__ inline float block_sum(float v) {
  __shared__ float parts[32];
  v = warp_sum(v);
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  __syncthreads();  // the last call's parts have been read
  if (lane == 0) parts[warp] = v;
  __syncthreads();
  return warp_sum(lane < warps ? parts[lane] : 0.0f);
}

template <class T>
__device__ inline float to_float(T v) {
  return static_cast<float>(v);
}
template <>
__device__ inline float to_float(__half v) {
  return __half2float(v);
}
template <>
__device__ inline float to_float(__nv_bfloat16 v) {
  return __bfloat162float(v);
}

template <class T>
__device__ inline T from_float(float v) {
  return v;
}
template <>
__device__ inline __half from_float(float v) {
  return __float2half_rn(v);
}
template <>
__device__ inline __nv_bfloat16 from_float(float v) {
  return __float2bfloat16_rn(v);
}

}  // namespace l2a::cuda
