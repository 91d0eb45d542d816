// What the ARM kernels share: a few idioms, as x86.h is for x86.
#pragma once

#if defined(__aarch64__)

#include <cstdint>

#include "graph/arm_intrinsics.h"
#include "ops/blocks.h"

namespace l2a::arm {

// Four f16 at once.
inline float32x4_t to_floats(PackedHalf a, PackedHalf b, PackedHalf c, PackedHalf d) {
  const uint16x4_t bits = {a.bits(), b.bits(), c.bits(), d.bits()};
  return vcvt_f32_f16(vreinterpret_f16_u16(bits));
}
inline float to_float(PackedHalf half) {
  return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(half.bits()))), 0);
}

// Σ a·b over groups of four bytes.
L2A_DOTPROD inline int32x4_t dot_bytes(int8x16_t a, int8x16_t b) {
  return vdotq_s32(vdupq_n_s32(0), a, b);
}
// The same of 32 bytes, those of the second sixteen added to those of the first.
L2A_DOTPROD inline int32x4_t dot_bytes(int8x16x2_t a, int8x16x2_t b) {
  return vdotq_s32(dot_bytes(a.val[0], b.val[0]), a.val[1], b.val[1]);
}

// The sum of all lanes of several vectors.
template <int kCount>
inline float sum_lanes(const float32x4_t (&v)[kCount]) {
  float32x4_t sum = v[0];
  for (int i = 1; i < kCount; ++i) sum = vaddq_f32(sum, v[i]);
  return vaddvq_f32(sum);
}

// The sum of each of four vectors' lanes.
inline int32x4_t sums_of(const int32x4_t (&v)[4]) {
  return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]));
}

inline int8x16x2_t load32(const std::int8_t* p) { return {vld1q_s8(p), vld1q_s8(p + 16)}; }

inline int8x16_t low_nibbles(uint8x16_t bytes) {
  return vreinterpretq_s8_u8(vandq_u8(bytes, vdupq_n_u8(15)));
}
inline int8x16_t high_nibbles(uint8x16_t bytes) {
  return vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
}

// Sixteen bytes of nibbles: the low ones, then the high ones.
inline int8x16x2_t split_nibbles(const std::uint8_t* qs) {
  const uint8x16_t bytes = vld1q_u8(qs);
  return {low_nibbles(bytes), high_nibbles(bytes)};
}

// q with 16 more in each byte where `bits` has any that `which` has.
inline int8x16_t with_fifth_bit(int8x16_t q, uint8x16_t bits, uint8x16_t which) {
  const uint8x16_t sixteen = vandq_u8(vtstq_u8(bits, which), vdupq_n_u8(16));
  return vorrq_s8(q, vreinterpretq_s8_u8(sixteen));
}

// The values of a block of q5_0 or q5_1: nibbles with the bits of qh, in element order, as their fifth.
template <class Block>
inline int8x16x2_t split_five_bits(const Block& block) {
  const uint8x8_t bit = vcreate_u8(0x8040201008040201);
  const uint8x16_t which = vcombine_u8(bit, bit);
  int8x16x2_t q = split_nibbles(block.qs);
  for (int half = 0; half < 2; ++half) {
    const std::uint8_t* bits = block.qh + 2 * half;
    const uint8x16_t each = vcombine_u8(vdup_n_u8(bits[0]), vdup_n_u8(bits[1]));
    q.val[half] = with_fifth_bit(q.val[half], each, which);
  }
  return q;
}

}  // namespace l2a::arm

#endif
