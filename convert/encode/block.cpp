#include "convert/encode/block.h"

#include <bit>
#include <cmath>

#include "graph/error.h"

namespace l2a::encode {
namespace {

// Sums and extremes go through as many partial results, which the compiler keeps in vectors, in
// the same order everywhere.
constexpr int kParts = 8;

template <class Combine>
float fold(const float parts[kParts], Combine combine) {
  const float left = combine(combine(parts[0], parts[4]), combine(parts[1], parts[5]));
  const float right = combine(combine(parts[2], parts[6]), combine(parts[3], parts[7]));
  return combine(left, right);
}

float smaller(float a, float b) { return a < b ? a : b; }
float larger(float a, float b) { return a > b ? a : b; }
float sum(float a, float b) { return a + b; }

template <class Term>
float sum_of(int count, Term term) {
  float parts[kParts] = {};
  for (int i = 0; i < count; i += kParts) {
    for (int part = 0; part < kParts; ++part) {
      parts[part] += term(i + part);
    }
  }
  return fold(parts, sum);
}

PackedHalf packed(std::uint16_t bits) {
  return {static_cast<std::uint8_t>(bits & 0xff), static_cast<std::uint8_t>(bits >> 8)};
}

}  // namespace

void Block::fill(const float* values, const float* importance, int values_count, float factor) {
  count = values_count;
  float lows[kParts];
  float highs[kParts];
  for (int i = 0; i < count; ++i) {
    value[i] = values[i] * factor;
  }
  for (int part = 0; part < kParts; ++part) {
    lows[part] = highs[part] = value[part];
  }
  for (int i = kParts; i < count; i += kParts) {
    for (int part = 0; part < kParts; ++part) {
      lows[part] = smaller(lows[part], value[i + part]);
      highs[part] = larger(highs[part], value[i + part]);
    }
  }
  low = fold(lows, smaller);
  high = fold(highs, larger);

  const float squares = sum_of(count, [&](int i) { return value[i] * value[i]; });
  // Not 0 for zeros, whose fit would have no solution: a millionth of what the block's largest
  // value, 1, would have.
  const float twice_rms = larger(2.0f * std::sqrt(squares / static_cast<float>(count)), 1e-6f);
  for (int i = 0; i < count; ++i) {
    weight[i] = twice_rms + std::fabs(value[i]);
  }
  if (importance != nullptr) {
    for (int i = 0; i < count; ++i) {
      weight[i] *= importance[i];
    }
  }
  for (int i = 0; i < count; ++i) {
    weighted[i] = weight[i] * value[i];
  }
  sum_w = sum_of(count, [&](int i) { return weight[i]; });
  sum_wx = sum_of(count, [&](int i) { return weighted[i]; });
  sum_wxx = sum_of(count, [&](int i) { return weighted[i] * value[i]; });
}

void Block::assign(CodeRange codes, float scale, float offset, std::uint8_t* out) const {
  const float inverse = scale == 0.0f ? 0.0f : 1.0f / scale;
  const float shift = -offset * inverse;
  for (int i = 0; i < count; ++i) {
    float q = value[i] * inverse + shift;
    q = smaller(larger(q, codes.lowest), codes.highest);
    // Adding 1.5 · 2^23 leaves no bits for a fraction: to nearest, ties to even.
    q = (q + 0x1.8p23f) - 0x1.8p23f;
    out[i] = static_cast<std::uint8_t>(static_cast<int>(q - codes.lowest));
  }
}

// Magnitudes compare as the integers that their bits are.
float largest_magnitude(const float* values, std::int64_t count) {
  std::int32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(values[i]) & 0x7fffffff;
    largest = bits > largest ? bits : largest;
  }
  return std::bit_cast<float>(largest);
}

PackedHalf to_half(float value, Dtype dtype) {
  const std::uint16_t bits = float_to_f16(value);
  if ((bits & 0x7fff) >= 0x7c00) {
    throw Error(concat("encode_rows: ", dtype_name(dtype), " values need a scale of ", value,
                       ", and f16 ends at 65504"));
  }
  return packed(bits);
}

PackedHalf to_half_not_zero(float value, Dtype dtype) {
  const PackedHalf nearest = to_half(value, dtype);
  return nearest.value() == 0.0f ? to_half_outward(value, dtype) : nearest;
}

PackedHalf to_half_outward(float value, Dtype dtype) {
  const PackedHalf nearest = to_half(value, dtype);
  if (std::fabs(nearest.value()) >= std::fabs(value)) {
    return nearest;
  }
  return to_half(f16_to_float(static_cast<std::uint16_t>(nearest.bits() + 1)), dtype);
}

}  // namespace l2a::encode
