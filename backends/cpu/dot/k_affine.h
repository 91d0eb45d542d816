// Dot products of q4_k and q5_k: 256 values in eight sub-blocks of 32, each with a 6-bit scale and
// minimum.
//
// A sub-block lines up with an activation block, so the eight scales d·sc·scale_x come from one
// vector multiply, and all eight minimums from one multiply-add with the activations' sums. What
// remains for each sub-block is the same as for a block of 32 (blocks32.h). A Format tells how to
// get bytes:
//     quants(block, s)        the 32 values of sub-block s for AVX2 or NEON
//     quant_pair(block, i)    the 64 values of sub-blocks 2i and 2i + 1 for AVX-512
#pragma once

#include <cstddef>
#include <cstring>

#include "backends/cpu/arm.h"
#include "backends/cpu/dot/dot.h"
#include "backends/cpu/x86.h"
#include "ops/blocks.h"

namespace l2a {

template <class Block, int kColumns>
void k_affine_generic(std::int64_t k, const std::byte* weights, const ActivationRow* x,
                      float* out) {
  const auto* blocks = reinterpret_cast<const Block*>(weights);
  float total[kColumns] = {};
  for (std::int64_t i = 0; i < k / 256; ++i) {
    std::int8_t q[256];
    unpack(blocks[i], q);
    const SubBlockScales sub = unpack_scales(blocks[i].scales);
    const float d = blocks[i].d.value();
    const float dmin = blocks[i].dmin.value();
    for (int s = 0; s < 8; ++s) {
      for (int c = 0; c < kColumns; ++c) {
        const ActivationRow v = x[c].from(8 * i + s);
        int products = 0;
        for (int j = 0; j < 32; ++j) {
          products += q[32 * s + j] * v.q[j];
        }
        total[c] +=
            d * sub.scale[s] * *v.scale * static_cast<float>(products) - dmin * sub.min[s] * *v.sum;
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    out[c] = total[c];
  }
}

#if defined(__x86_64__)

namespace x86 {

// The head of a block: d, dmin and the packed scales are its first 16 bytes.
template <class Block>
L2A_AVX2 inline __m128i load_head(const Block& block) {
  static_assert(offsetof(Block, scales) == 4 && sizeof(block.scales) == 12);
  return load128(&block);
}

// Eight scales, then eight minimums, four bytes at a time; the layout is at PackedScales.
L2A_AVX2 inline __m128i unpack_scales(__m128i head) {
  constexpr int kLow6 = 0x3f3f3f3f, kLow4 = 0x0f0f0f0f;
  constexpr int kTop2 = 0x30303030;  // the top two bits of a byte, after >> 2
  // 32-bit words 1, 2, 3 of the head are scales, mins and the low bits of the last four of both.
  const __m128i low =
      _mm_srlv_epi32(_mm_shuffle_epi32(head, _MM_SHUFFLE(3, 2, 3, 1)), _mm_setr_epi32(0, 0, 0, 4));
  const __m128i high = _mm_srli_epi32(_mm_shuffle_epi32(head, _MM_SHUFFLE(2, 2, 1, 1)), 2);
  return _mm_or_si128(_mm_and_si128(low, _mm_setr_epi32(kLow6, kLow4, kLow6, kLow4)),
                      _mm_and_si128(high, _mm_setr_epi32(0, kTop2, 0, kTop2)));
}

// d and dmin, each over all lanes.
L2A_AVX2 inline __m256 first_half(__m128i head) {
  return _mm256_broadcastss_ps(_mm_cvtph_ps(head));
}
L2A_AVX2 inline __m256 second_half(__m128i head) {
  return _mm256_broadcastss_ps(_mm_movehdup_ps(_mm_cvtph_ps(head)));
}

// Both, each over its half of the lanes.
L2A_AVX512 inline __m512 halves(__m128i head) {
  const __m512i lanes = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  return _mm512_permutexvar_ps(lanes, _mm512_castps128_ps512(_mm_cvtph_ps(head)));
}

L2A_AVX2 inline __m256 bytes_to_floats(__m128i bytes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes));
}

L2A_AVX2 inline __m256i sub_block_nibbles(const std::uint8_t* qs, int s) {
  const __m256i bytes = load256(qs + 32 * (s / 2));
  const __m256i shifted = s % 2 == 0 ? bytes : _mm256_srli_epi16(bytes, 4);
  return _mm256_and_si256(shifted, _mm256_set1_epi8(15));
}

L2A_AVX512 inline __m512i sub_block_nibble_pair(const std::uint8_t* qs, int i) {
  const __m512i both = _mm512_broadcast_i64x4(load256(qs + 32 * i));
  const __m512i shifted = _mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 0, 0, 4, 4, 4, 4));
  return _mm512_and_si512(shifted, _mm512_set1_epi8(15));
}

}  // namespace x86

template <class Format, int kColumns>
L2A_AVX2 void k_affine_avx2(std::int64_t k, const std::byte* weights, const ActivationRow* x,
                            float* out) {
  const auto* blocks = reinterpret_cast<const typename Format::Block*>(weights);
  constexpr int kChains = kColumns == 1 ? 2 : 1;  // a lone column would wait for its own additions
  __m256 total[kColumns][kChains];
  __m256 mins[kColumns];
  for (int c = 0; c < kColumns; ++c) {
    mins[c] = _mm256_setzero_ps();
    for (int chain = 0; chain < kChains; ++chain) {
      total[c][chain] = _mm256_setzero_ps();
    }
  }
  for (std::int64_t i = 0; i < k / 256; ++i) {
    const auto& b = blocks[i];
    const __m128i head = x86::load_head(b);
    const __m128i packed = x86::unpack_scales(head);
    const __m256 sub_scale = _mm256_mul_ps(x86::bytes_to_floats(packed), x86::first_half(head));
    const __m256 sub_min =
        _mm256_mul_ps(x86::bytes_to_floats(_mm_srli_si128(packed, 8)), x86::second_half(head));
    alignas(32) float scale[kColumns][8];
    for (int c = 0; c < kColumns; ++c) {
      _mm256_store_ps(scale[c], _mm256_mul_ps(sub_scale, _mm256_loadu_ps(x[c].scale + 8 * i)));
      mins[c] = _mm256_fmadd_ps(sub_min, _mm256_loadu_ps(x[c].sum + 8 * i), mins[c]);
    }
#pragma GCC unroll 8
    for (int s = 0; s < 8; ++s) {
      const __m256i q = Format::quants(b, s);
      for (int c = 0; c < kColumns; ++c) {
        const __m256i v = x86::load256(x[c].q + 256 * i + 32 * s);
        const __m256 products = _mm256_cvtepi32_ps(x86::dot_bytes(q, v));
        __m256& sum = total[c][s % kChains];
        sum = _mm256_fmadd_ps(products, _mm256_broadcast_ss(&scale[c][s]), sum);
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    for (int chain = 1; chain < kChains; ++chain) {
      total[c][0] = _mm256_add_ps(total[c][0], total[c][chain]);
    }
    out[c] = x86::sum_lanes(_mm256_sub_ps(total[c][0], mins[c]));
  }
}

// Scales and minimums are the halves of one vector, as far as they go the same way.
template <class Format, int kRows, int kColumns>
L2A_AVX512 void k_affine_avx512(std::int64_t k, const std::byte* weights, std::int64_t stride,
                                const ActivationRow* x, float* out) {
  using Block = typename Format::Block;
  const __m512i first_pair = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
  __m512 total[kRows * kColumns][2];
  __m512 mins[kRows * kColumns];  // in the upper half
  for (int i = 0; i < kRows * kColumns; ++i)
    mins[i] = total[i][0] = total[i][1] = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < k / 256; ++i) {
    __m512 factors[kColumns];
    for (int c = 0; c < kColumns; ++c)
      factors[c] = _mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(x[c].scale + 8 * i)),
                                      _mm256_loadu_ps(x[c].sum + 8 * i), 1);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Block& b = reinterpret_cast<const Block*>(weights + r * stride)[i];
      if constexpr (kRows > 1) ask_ahead(&b, sizeof b);
      const __m128i head = x86::load_head(b);
      const __m512 sub = _mm512_mul_ps(
          _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(x86::unpack_scales(head))), x86::halves(head));
      __m512 scale[kColumns];
      for (int c = 0; c < kColumns; ++c) {
        scale[c] = _mm512_mul_ps(sub, factors[c]);
        mins[r * kColumns + c] = _mm512_add_ps(mins[r * kColumns + c], scale[c]);
      }
#pragma GCC unroll 4
      for (int pair = 0; pair < 4; ++pair) {
        const __m512i q = Format::quant_pair(b, pair);
        const __m512i lanes = _mm512_add_epi32(first_pair, _mm512_set1_epi32(2 * pair));
        for (int c = 0; c < kColumns; ++c) {
          const __m512i v = _mm512_loadu_si512(x[c].q + 256 * i + 64 * pair);
          const __m512 products = _mm512_cvtepi32_ps(x86::dot_bytes(q, v));
          __m512& sum = total[r * kColumns + c][pair % 2];
          sum = _mm512_fmadd_ps(products, _mm512_permutexvar_ps(lanes, scale[c]), sum);
        }
      }
    }
  }
  __m512 sums[kRows * kColumns];
  for (int i = 0; i < kRows * kColumns; ++i)
    sums[i] = _mm512_sub_ps(_mm512_add_ps(total[i][0], total[i][1]),
                            _mm512_maskz_mov_ps(__mmask16{0xff00}, mins[i]));
  x86::store_sums(sums, out);
}

#elif defined(__aarch64__)

namespace arm {

// The bytes of two words as floats.
struct EightFloats {
  float32x4_t first, second;
};
inline EightFloats bytes_to_floats(std::uint32_t first, std::uint32_t second) {
  const uint16x8_t words = vmovl_u8(vcreate_u8(std::uint64_t{second} << 32 | first));
  return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(words))), vcvtq_f32_u32(vmovl_high_u16(words))};
}

// As l2a::unpack_scales, four bytes at a time.
struct SubBlocks {
  EightFloats scale, min;
};
inline SubBlocks unpack_scales(const PackedScales& packed) {
  constexpr std::uint32_t kLow6 = 0x3f3f3f3f, kLow4 = 0x0f0f0f0f;
  constexpr std::uint32_t kTop2 = 0x30303030;  // the top two bits of a byte, after >> 2
  std::uint32_t w[3];
  std::memcpy(w, packed.bytes, sizeof w);
  return {bytes_to_floats(w[0] & kLow6, (w[2] & kLow4) | (w[0] >> 2 & kTop2)),
          bytes_to_floats(w[1] & kLow6, (w[2] >> 4 & kLow4) | (w[1] >> 2 & kTop2))};
}

inline int8x16x2_t sub_block_nibbles(const std::uint8_t* qs, int s) {
  const uint8x16x2_t bytes = {vld1q_u8(qs + 32 * (s / 2)), vld1q_u8(qs + 32 * (s / 2) + 16)};
  if (s % 2 == 0) return {low_nibbles(bytes.val[0]), low_nibbles(bytes.val[1])};
  return {high_nibbles(bytes.val[0]), high_nibbles(bytes.val[1])};
}

}  // namespace arm

// As blocks32_neon, with four sub-blocks for its four blocks.
template <class Format, int kColumns>
L2A_DOTPROD void k_affine_neon(std::int64_t k, const std::byte* weights, const ActivationRow* x,
                               float* out) {
  const auto* blocks = reinterpret_cast<const typename Format::Block*>(weights);
  float32x4_t total[kColumns], mins[kColumns];
  for (int c = 0; c < kColumns; ++c) total[c] = mins[c] = vdupq_n_f32(0);
  for (std::int64_t i = 0; i < k / 256; ++i) {
    const auto& b = blocks[i];
    const float d = arm::to_float(b.d), dmin = arm::to_float(b.dmin);
    const arm::SubBlocks sub = arm::unpack_scales(b.scales);
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const float32x4_t scale = vmulq_n_f32(half == 0 ? sub.scale.first : sub.scale.second, d);
      const float32x4_t min = vmulq_n_f32(half == 0 ? sub.min.first : sub.min.second, dmin);
      int8x16x2_t q[4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) q[j] = Format::quants(b, 4 * half + j);
      for (int c = 0; c < kColumns; ++c) {
        const ActivationRow v = x[c].from(8 * i + 4 * half);
        int32x4_t products[4];
        for (int j = 0; j < 4; ++j) products[j] = arm::dot_bytes(q[j], arm::load32(v.q + 32 * j));
        total[c] = vfmaq_f32(total[c], vcvtq_f32_s32(arm::sums_of(products)),
                             vmulq_f32(scale, vld1q_f32(v.scale)));
        mins[c] = vfmaq_f32(mins[c], min, vld1q_f32(v.sum));
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) out[c] = vaddvq_f32(vsubq_f32(total[c], mins[c]));
}

#endif

template <class Format>
QuantizedDot k_affine_dot([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level >= SimdLevel::avx512) {
    return rows_dot<k_affine_avx512<Format, 1, 1>, k_affine_avx512<Format, 4, 1>,
                    k_affine_avx512<Format, 1, 4>>();
  }
  if (level == SimdLevel::avx2) {
    return quantized_dot<k_affine_avx2<Format, 1>, k_affine_avx2<Format, 4>>();
  }
#elif defined(__aarch64__)
  if (level == SimdLevel::neon) {
    return quantized_dot<k_affine_neon<Format, 1>, k_affine_neon<Format, 4>>();
  }
#endif
  using Block = typename Format::Block;
  return quantized_dot<k_affine_generic<Block, 1>, k_affine_generic<Block, 4>>();
}

}  // namespace l2a
