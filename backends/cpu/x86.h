// What the x86 kernels share: a few idioms.
//
// Each function carries its instruction set as an attribute (graph/x86_intrinsics.h), so a file holds
// all versions of a kernel. Helpers carry the attribute of the lowest level that can inline them: a
// callee's instruction set must be within its caller's.
#pragma once

#if defined(__x86_64__)

#include <cstdint>
#include <cstring>

#include "graph/x86_intrinsics.h"
#include "ops/blocks.h"

namespace l2a::x86 {

L2A_AVX2 inline float sum_lanes(__m128 v) {
  v = _mm_add_ps(v, _mm_movehl_ps(v, v));
  return _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)));
}
L2A_AVX2 inline float sum_lanes(__m256 v) {
  return sum_lanes(_mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1)));
}
L2A_AVX512 inline float sum_lanes(__m512 v) {
  return sum_lanes(_mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1)));
}

// One sum for each of one or four vectors. Four share their additions, and a lone one is added in the same order, so that
// a row gives the same whether it came alone or not.
template <int kCount>
L2A_AVX512 inline void store_sums(const __m512 (&v)[kCount], float* out) {
  static_assert(kCount == 1 || kCount == 4);
  __m256 half[kCount];
  for (int i = 0; i < kCount; ++i)
    half[i] = _mm256_add_ps(_mm512_castps512_ps256(v[i]), _mm512_extractf32x8_ps(v[i], 1));
  constexpr int kB = kCount / 4, kC = 2 * kB, kD = 3 * kB;
  const __m256 pairs =
      _mm256_hadd_ps(_mm256_hadd_ps(half[0], half[kB]), _mm256_hadd_ps(half[kC], half[kD]));
  const __m128 sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
  if constexpr (kCount == 4) {
    _mm_storeu_ps(out, sums);
  } else {
    *out = _mm_cvtss_f32(sums);
  }
}

L2A_AVX2 inline __m256i load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
L2A_AVX2 inline __m128i load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}

// A mask of the first n lanes of sixteen; all of them when n is more.
L2A_AVX512 inline __mmask16 first_lanes(std::int64_t n) {
  return n >= 16 ? __mmask16{0xffff} : static_cast<__mmask16>((1u << n) - 1);
}

L2A_AVX2 inline float to_float(PackedHalf half) {
  return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(half.bits())));
}
// Four f16 at once.
L2A_AVX2 inline __m128 to_floats(PackedHalf a, PackedHalf b, PackedHalf c, PackedHalf d) {
  const auto bits = [](PackedHalf h) { return static_cast<short>(h.bits()); };
  return _mm_cvtph_ps(_mm_setr_epi16(bits(a), bits(b), bits(c), bits(d), 0, 0, 0, 0));
}

// Σ u·s over groups of four bytes, into eight i32. maddubs saturates pairs to i16, so u must be at
// most 129: true of every unsigned quant (63 and less) and of |q| (128 and less).
L2A_AVX2 inline __m256i dot_bytes(__m256i u, __m256i s) {
  return _mm256_madd_epi16(_mm256_maddubs_epi16(u, s), _mm256_set1_epi16(1));
}
L2A_AVX512 inline __m512i dot_bytes(__m512i u, __m512i s) {
  return _mm512_dpbusd_epi32(_mm512_setzero_si512(), u, s);
}

// What dpbusd adds to, to multiply values that `offset` was added to, which made them unsigned: Σ(q - offset)s.
template <int kOffset>
L2A_AVX512 inline __m512i products_start(__m512i s) {
  const __m512i zero = _mm512_setzero_si512();
  if constexpr (kOffset == 0) return zero;
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(kOffset));
  return _mm512_sub_epi32(zero, _mm512_dpbusd_epi32(zero, offset, s));
}

// x with the sign of q: the instructions above want one side unsigned, and |q| · (±x) = q · x.
// x is never -128, which has no negative.
L2A_AVX2 inline __m256i with_sign_of(__m256i q, __m256i x) { return _mm256_sign_epi8(x, q); }
L2A_AVX512 inline __m512i with_sign_of(__m512i q, __m512i x) {
  return _mm512_mask_sub_epi8(x, _mm512_movepi8_mask(q), _mm512_setzero_si512(), x);
}

// Sixteen bytes of nibbles: the low ones, then the high ones.
L2A_AVX2 inline __m256i split_nibbles(const std::uint8_t* qs) {
  const __m128i bytes = load128(qs);
  const __m256i both = _mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes);
  return _mm256_and_si256(both, _mm256_set1_epi8(15));
}
// The same of two blocks.
L2A_AVX512 inline __m512i split_nibbles(const std::uint8_t* first, const std::uint8_t* second) {
  const __m256i bytes = _mm256_set_m128i(load128(second), load128(first));
  const __m512i both = _mm512_permutexvar_epi64(_mm512_setr_epi64(0, 1, 0, 1, 2, 3, 2, 3),
                                                _mm512_castsi256_si512(bytes));
  const __m512i shifted = _mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4));
  return _mm512_and_si512(shifted, _mm512_set1_epi8(15));
}

L2A_AVX2 inline std::uint32_t load_u32(const std::uint8_t* p) {
  std::uint32_t value;
  std::memcpy(&value, p, 4);
  return value;
}

// The values of a block of q5_0 or q5_1: nibbles with the bits of qh, in element order, as their
// fifth.
template <class Block>
L2A_AVX2 inline __m256i split_five_bits(const Block& block) {
  const __m256i spread =
      _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
  const __m256i bits = _mm256_set1_epi32(static_cast<int>(load_u32(block.qh)));
  const __m256i byte_of_bit = _mm256_shuffle_epi8(bits, spread);
  const __m256i bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201));
  const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(byte_of_bit, bit), bit);
  return _mm256_or_si256(split_nibbles(block.qs), _mm256_and_si256(set, _mm256_set1_epi8(16)));
}
// The same of two blocks; here the bits are a mask as they are.
template <class Block>
L2A_AVX512 inline __m512i split_five_bits(const Block& first, const Block& second) {
  const __m512i low = split_nibbles(first.qs, second.qs);
  const std::uint64_t high = std::uint64_t{load_u32(second.qh)} << 32 | load_u32(first.qh);
  return _mm512_mask_add_epi8(low, high, low, _mm512_set1_epi8(16));
}

}  // namespace l2a::x86

#endif
