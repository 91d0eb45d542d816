// What a warpgroup's products (wgmma.cuh) are written by.
#pragma once

#include "backends/cuda/kernels/hopper.cuh"

namespace l2a::cuda {

// 64 tokens from `token` on by the outputs from `output` on, of which those exist that are under `count` and
// `to.outer`; token t's are multiplied by scale[t], where there is a scale. `to` has out, stride and outer.
template <int registers, class Product>
__device__ inline void store_sums(const float (&sums)[registers], const Product& to, int count,
                                  int token, int output, const float* scale) {
  const int in_group = static_cast<int>(threadIdx.x) % kWarpgroup, lane = in_group % 32;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int t = token + in_group / 32 * 16 + 8 * h + lane / 4;
    if (t >= count) continue;
    const float factor = scale != nullptr ? scale[t] : 1.0f;
    float* const row = to.out + static_cast<std::int64_t>(t) * to.stride;
#pragma unroll
    for (int j = 0; j < registers / 4; ++j) {
      const int n = output + 8 * j + 2 * (lane % 4);
      const float low = sums[4 * j + 2 * h] * factor, high = sums[4 * j + 2 * h + 1] * factor;
      if (to.stride % 2 == 0 && n + 1 < to.outer) {
        *reinterpret_cast<float2*>(row + n) = {low, high};
      } else {
        if (n < to.outer) row[n] = low;
        if (n + 1 < to.outer) row[n + 1] = high;
      }
    }
  }
}

}  // namespace l2a::cuda
