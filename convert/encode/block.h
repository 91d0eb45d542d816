// The values that share a scale, as the search takes them, and what is stored of a scale.
#pragma once

#include <cstdint>

#include "graph/dtype.h"
#include "ops/blocks.h"

namespace l2a::encode {

inline constexpr int kMaxBlock = 32;

struct CodeRange {
  float lowest;
  float highest;
};

// 16 or 32 values of order one, how much a squared error of each counts, and the sums that every
// fit to them needs. In those only the weights' ratios matter.
struct Block {
  int count;
  alignas(64) float value[kMaxBlock];
  float weight[kMaxBlock];
  float weighted[kMaxBlock];  // weight · value
  float sum_w;
  float sum_wx;
  float sum_wxx;
  float low;  // the least and the largest value
  float high;

  // Values times `factor`. `importance` has `values_count` factors, or is null.
  void fill(const float* values, const float* importance, int values_count, float factor);

  // The codes nearest to the values, counted from the lowest.
  void assign(CodeRange codes, float scale, float offset, std::uint8_t* out) const;
};

// NaN when one of the values is.
float largest_magnitude(const float* values, std::int64_t count);

// Below this no f16 scale gives a value a code: all codes are 0.
inline constexpr float kSmallest = 0x1p-25f;

// A scale, or a minimum, as an f16. Throws Error when it is beyond one.
PackedHalf to_half(float value, Dtype dtype);
// The same, but only 0 becomes 0: without a scale all values would be the minimum.
PackedHalf to_half_not_zero(float value, Dtype dtype);
// The same to the nearest of no smaller magnitude: a scale of scales must reach the largest.
PackedHalf to_half_outward(float value, Dtype dtype);

}  // namespace l2a::encode
