// What kernels of one op and of several do to a row alike.
#pragma once

#include <cmath>
#include <cstdint>

#include "backends/cpu/simd.h"
#include "graph/tensor.h"
#include "ops/kv_append.h"
#include "ops/rope.h"

namespace l2a::cpu {

// x / rms(x) * weight: two passes over a row that is in cache for the second. In place, too.
inline void norm_row(const SimdKernels& simd, std::int64_t width, const float* x,
                     const float* weight, float eps, float* out) {
  const float mean = simd.sum_of_squares(width, x) / static_cast<float>(width);
  simd.scale_by(width, x, 1.0f / std::sqrt(mean + eps), weight, out);
}

// Turns pairs of a head's elements by the angles of its token. In place, too.
inline void turn_head(const SimdKernels& simd, RopePairing pairing, std::int64_t pairs,
                      const float* x, const float* table, float* out) {
  if (pairing == RopePairing::half) return simd.turn_halves(pairs, x, table, out);
  for (std::int64_t p = 0; p < pairs; ++p) {
    const float cosine = table[2 * p], sine = table[2 * p + 1];
    const float a = x[2 * p], b = x[2 * p + 1];
    out[2 * p] = a * cosine - b * sine;
    out[2 * p + 1] = b * cosine + a * sine;
  }
}

// Where a run's tokens go in a cache.
class CacheSlots {
 public:
  CacheSlots(const TensorView& positions, const TensorView& cache, std::int64_t sinks)
      : positions_(positions), cache_(cache), sinks_(sinks) {}

  // Null where a later token has the same slot: only the last is written, so that threads never write the same one.
  std::byte* slot(std::int64_t token) const {
    const std::int64_t position = *positions_.row<const std::int32_t>(token);
    const std::int64_t capacity = cache_.shape[0];
    if (position >= sinks_ && token + capacity - sinks_ < positions_.shape[0]) return nullptr;
    return cache_.row<std::byte>(cache_slot(position, capacity, sinks_));
  }

 private:
  const TensorView &positions_, &cache_;
  std::int64_t sinks_;
};

}  // namespace l2a::cpu
