// Activations to 8 bits: what backends/cpu/vector_ops.cpp does, four values a thread, eight threads a block of 32.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"

namespace l2a::cuda {

// The thread's four values, at `at` of a row of `inner`. All lanes of a warp call it; with `inside` false a lane only
// takes part in its eight.
__device__ inline void quantize_four(const float (&v)[4], bool inside, const QuantizedColumns& to,
                                     int token, int inner, int at) {
  constexpr std::uint32_t kInfinity = 0x7f800000;
  constexpr std::uint32_t kTiny =
      0x0d800000;  // 2^-100: far below what a sum notices, and invertible
  // As integers, magnitudes put infinity and NaN on top instead of losing them.
  std::uint32_t largest = 0;
#pragma unroll
  for (const float value : v) largest = max(largest, __float_as_uint(value) & 0x7fffffffu);
#pragma unroll
  for (int offset = 4; offset > 0; offset /= 2)
    largest = max(largest, __shfl_xor_sync(kAllLanes, largest, offset));
  float scale = 0, inverse = 0;
  if (largest >= kInfinity) {
    scale = __uint_as_float(0x7fffffff);
  } else if (largest >= kTiny) {
    scale = __uint_as_float(largest) / 127.0f;
    inverse = 127.0f / __uint_as_float(largest);
  }
  int total = 0;
  std::uint32_t packed = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int q = inverse == 0 ? 0 : __float2int_rn(v[j] * inverse);
    total += q;
    packed |= (static_cast<std::uint32_t>(q) & 0xffu) << (8 * j);
  }
#pragma unroll
  for (int offset = 4; offset > 0; offset /= 2) total += __shfl_xor_sync(kAllLanes, total, offset);
  if (!inside) return;
  *reinterpret_cast<std::uint32_t*>(to.q + static_cast<std::int64_t>(token) * inner + at) = packed;
  if (threadIdx.x % 8 != 0) return;
  const std::int64_t block = (static_cast<std::int64_t>(token) * inner + at) / 32;
  to.scale[block] = scale;
  to.sum[block] = scale * static_cast<float>(total);
}

}  // namespace l2a::cuda
