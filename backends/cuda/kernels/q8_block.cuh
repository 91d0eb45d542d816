// A block of q8_0 (ops/blocks.h) of 32 values, one a lane, encoded as ops/quantize.cpp does. All lanes call it together.
#pragma once

#include "backends/cuda/kernels/device_math.cuh"
#include "ops/blocks.h"

namespace l2a::cuda {

__device__ inline void store_q8_0(float value, std::uint8_t* block) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const float scale = warp_max(fabsf(value)) / 127.0f;
  const float inverse = scale > 0 ? 1.0f / scale : 0.0f;
  // The inverse of a subnormal scale is infinite; in f16 that scale is zero, and so are its values.
  const float code = isfinite(inverse) ? roundf(value * inverse) : 0.0f;
  block[2 + lane] = static_cast<std::uint8_t>(static_cast<std::int8_t>(code));
  if (lane == 0) *reinterpret_cast<__half*>(block) = __float2half_rn(scale);
}

}  // namespace l2a::cuda
