// q6_k: Σ d sc (q - 32) · x over blocks of 256 six-bit values, in sixteen sub-blocks of 16.
//
// Sub-blocks are half an activation block, so the activations' sums cannot pay for the offset. With AVX2 it is subtracted,
// and the sign moved to the activation as for q8_0; with AVX-512 sums of bytes start at what it adds. The signed 8-bit scales enter as
// integers with AVX2, where the sum of pairs needs a multiply anyway, and as floats with AVX-512,
// whose byte product has already summed fours. NEON subtracts the offset too, and multiplies integers: scaled sums of the
// two halves of an activation block can be added before they are converted.
#include "backends/cpu/arm.h"
#include "backends/cpu/dot/dot.h"
#include "backends/cpu/panel/sources.h"
#include "backends/cpu/x86.h"
#include "ops/blocks.h"

namespace l2a {
namespace {

template <int kColumns>
void q6_k_generic(std::int64_t k, const std::byte* weights, const ActivationRow* x, float* out) {
  const auto* blocks = reinterpret_cast<const BlockQ6K*>(weights);
  float total[kColumns] = {};
  for (std::int64_t i = 0; i < k / 256; ++i) {
    std::int8_t q[256];
    unpack(blocks[i], q);
    const float d = blocks[i].d.value();
    for (int s = 0; s < 16; ++s) {
      for (int c = 0; c < kColumns; ++c) {
        int products = 0;
        for (int j = 16 * s; j < 16 * (s + 1); ++j) {
          products += q[j] * x[c].q[256 * i + j];
        }
        total[c] +=
            d * x[c].scale[8 * i + s / 2] * static_cast<float>(blocks[i].scales[s] * products);
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    out[c] = total[c];
  }
}

#if defined(__x86_64__)

// The 32 signed values of group g of a half.
L2A_AVX2 inline __m256i q6_k_group(const std::uint8_t* ql, const std::uint8_t* qh, int g) {
  const __m256i low_bytes = x86::load256(ql + 32 * (g % 2));
  const __m256i high_bytes = x86::load256(qh);
  const __m256i low =
      _mm256_and_si256(g < 2 ? low_bytes : _mm256_srli_epi16(low_bytes, 4), _mm256_set1_epi8(15));
  // The two bits go to bits 4 and 5; which way that is depends on the group.
  const __m256i moved = g == 0   ? _mm256_slli_epi16(high_bytes, 4)
                        : g == 1 ? _mm256_slli_epi16(high_bytes, 2)
                        : g == 2 ? high_bytes
                                 : _mm256_srli_epi16(high_bytes, 2);
  const __m256i high = _mm256_and_si256(moved, _mm256_set1_epi8(0x30));
  return _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
}

template <int kColumns>
L2A_AVX2 void q6_k_avx2(std::int64_t k, const std::byte* weights, const ActivationRow* x,
                        float* out) {
  const auto* blocks = reinterpret_cast<const BlockQ6K*>(weights);
  constexpr int kChains = kColumns == 1 ? 2 : 1;  // a lone column would wait for its own additions
  __m256 total[kColumns][kChains];
  for (int c = 0; c < kColumns; ++c) {
    for (int chain = 0; chain < kChains; ++chain) {
      total[c][chain] = _mm256_setzero_ps();
    }
  }
  // Two neighbouring 16-bit scales, each over its half of the register.
  const __m256i first_two = _mm256_set_m128i(_mm_set1_epi16(0x0302), _mm_set1_epi16(0x0100));
  for (std::int64_t i = 0; i < k / 256; ++i) {
    const BlockQ6K& b = blocks[i];
    const __m256 d = _mm256_broadcastss_ps(x86::to_floats(b.d, b.d, b.d, b.d));
    alignas(32) float scale[kColumns][8];
    for (int c = 0; c < kColumns; ++c) {
      _mm256_store_ps(scale[c], _mm256_mul_ps(d, _mm256_loadu_ps(x[c].scale + 8 * i)));
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const __m256i scales = _mm256_broadcastsi128_si256(_mm_cvtepi8_epi16(
          _mm_loadl_epi64(reinterpret_cast<const __m128i*>(b.scales + 8 * half))));
#pragma GCC unroll 4
      for (int g = 0; g < 4; ++g) {
        const __m256i q = q6_k_group(b.ql + 64 * half, b.qh + 32 * half, g);
        const __m256i magnitude = _mm256_abs_epi8(q);
        const __m256i sub_scale = _mm256_shuffle_epi8(
            scales, _mm256_add_epi8(first_two, _mm256_set1_epi8(static_cast<char>(4 * g))));
        const int s = 4 * half + g;
        for (int c = 0; c < kColumns; ++c) {
          const __m256i v = x86::with_sign_of(q, x86::load256(x[c].q + 256 * i + 32 * s));
          const __m256i pairs = _mm256_maddubs_epi16(magnitude, v);
          const __m256 products = _mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, sub_scale));
          __m256& sum = total[c][g % kChains];
          sum = _mm256_fmadd_ps(products, _mm256_broadcast_ss(&scale[c][s]), sum);
        }
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    for (int chain = 1; chain < kChains; ++chain) {
      total[c][0] = _mm256_add_ps(total[c][0], total[c][chain]);
    }
    out[c] = x86::sum_lanes(total[c][0]);
  }
}

// The 64 values of groups 2p and 2p + 1 of a half, 32 too large.
L2A_AVX512 inline __m512i q6_k_group_pair(const std::uint8_t* ql, const std::uint8_t* qh, int p) {
  const __m512i low_bytes = _mm512_loadu_si512(ql);
  const __m512i low =
      _mm512_and_si512(p == 0 ? low_bytes : _mm512_srli_epi16(low_bytes, 4), _mm512_set1_epi8(15));
  const __m512i both = _mm512_broadcast_i64x4(x86::load256(qh));
  const __m512i moved = p == 0 ? _mm512_sllv_epi64(both, _mm512_setr_epi64(4, 4, 4, 4, 2, 2, 2, 2))
                               : _mm512_srlv_epi64(both, _mm512_setr_epi64(0, 0, 0, 0, 2, 2, 2, 2));
  return _mm512_or_si512(low, _mm512_and_si512(moved, _mm512_set1_epi8(0x30)));
}

template <int kRows, int kColumns>
L2A_AVX512 void q6_k_avx512(std::int64_t k, const std::byte* weights, std::int64_t stride,
                            const ActivationRow* x, float* out) {
  const __m512i twice_each = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  const __m512i first_four = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
  __m512 total[kRows * kColumns][2];
  for (int i = 0; i < kRows * kColumns; ++i) total[i][0] = total[i][1] = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < k / 256; ++i) {
    __m512i v[kColumns][4], start[kColumns][4];
    __m512 factors[kColumns];
    for (int c = 0; c < kColumns; ++c) {
      factors[c] = _mm512_permutexvar_ps(
          twice_each, _mm512_castps256_ps512(_mm256_loadu_ps(x[c].scale + 8 * i)));
      for (int pair = 0; pair < 4; ++pair) {
        v[c][pair] = _mm512_loadu_si512(x[c].q + 256 * i + 64 * pair);
        start[c][pair] = x86::products_start<32>(v[c][pair]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const BlockQ6K& b = reinterpret_cast<const BlockQ6K*>(weights + r * stride)[i];
      if constexpr (kRows > 1) ask_ahead(&b, sizeof b);
      const __m512 sub_scale =
          _mm512_mul_ps(_mm512_set1_ps(x86::to_float(b.d)),
                        _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(x86::load128(b.scales))));
      __m512 scale[kColumns];
      for (int c = 0; c < kColumns; ++c) scale[c] = _mm512_mul_ps(sub_scale, factors[c]);
#pragma GCC unroll 4
      for (int pair = 0; pair < 4; ++pair) {
        const int half = pair / 2;
        const __m512i q = q6_k_group_pair(b.ql + 64 * half, b.qh + 32 * half, pair % 2);
        const __m512i lanes = _mm512_add_epi32(first_four, _mm512_set1_epi32(4 * pair));
        for (int c = 0; c < kColumns; ++c) {
          const __m512 products =
              _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start[c][pair], q, v[c][pair]));
          __m512& sum = total[r * kColumns + c][pair % 2];
          sum = _mm512_fmadd_ps(products, _mm512_permutexvar_ps(lanes, scale[c]), sum);
        }
      }
    }
  }
  __m512 sums[kRows * kColumns];
  for (int i = 0; i < kRows * kColumns; ++i) sums[i] = _mm512_add_ps(total[i][0], total[i][1]);
  x86::store_sums(sums, out);
}

struct Source {
  static constexpr int kStep = 16;
  static constexpr bool kMins = false;

  L2A_AVX512 static __m512i quants(const std::byte* row, std::int64_t i, bool /*half*/) {
    const BlockQ6K& b = reinterpret_cast<const BlockQ6K*>(row)[i / 4];
    const auto half = static_cast<int>(i / 2 % 2), pair = static_cast<int>(i % 2);
    return _mm512_sub_epi8(q6_k_group_pair(b.ql + 64 * half, b.qh + 32 * half, pair),
                           _mm512_set1_epi8(32));
  }
  template <class Step>
  L2A_AVX512 static std::int64_t scales(const std::byte* row, std::int64_t s, Step* step,
                                        int lane) {
    const BlockQ6K& b = reinterpret_cast<const BlockQ6K*>(row)[s / 16];
    const float d = x86::to_float(b.d);
    for (int i = 0; i < 16; ++i) step[i].scale[lane] = d * static_cast<float>(b.scales[i]);
    return 16;
  }
};

#else

#if defined(__aarch64__)

// The 16 signed values of half `part` of group g.
inline int8x16_t q6_k_values(const std::uint8_t* ql, const std::uint8_t* qh, int g, int part) {
  const uint8x16_t low_bytes = vld1q_u8(ql + 32 * (g % 2) + 16 * part);
  const int8x16_t low = g < 2 ? arm::low_nibbles(low_bytes) : arm::high_nibbles(low_bytes);
  // The two bits come to the bottom, and go to bits 4 and 5.
  const uint8x16_t moved =
      vshlq_u8(vld1q_u8(qh + 16 * part), vdupq_n_s8(static_cast<std::int8_t>(-2 * g)));
  const uint8x16_t high = vshlq_n_u8(vandq_u8(moved, vdupq_n_u8(3)), 4);
  return vsubq_s8(vorrq_s8(low, vreinterpretq_s8_u8(high)), vdupq_n_s8(32));
}

template <int kColumns>
L2A_DOTPROD void q6_k_neon(std::int64_t k, const std::byte* weights, const ActivationRow* x,
                           float* out) {
  const auto* blocks = reinterpret_cast<const BlockQ6K*>(weights);
  float32x4_t total[kColumns];
  for (int c = 0; c < kColumns; ++c) total[c] = vdupq_n_f32(0);
  for (std::int64_t i = 0; i < k / 256; ++i) {
    const BlockQ6K& b = blocks[i];
    const float d = arm::to_float(b.d);
    for (int half = 0; half < 2; ++half) {
      const int16x8_t scales = vmovl_s8(vld1_s8(b.scales + 8 * half));
      const int32x4_t scale[2] = {vmovl_s16(vget_low_s16(scales)), vmovl_high_s16(scales)};
      int8x16_t q[8];
#pragma GCC unroll 8
      for (int s = 0; s < 8; ++s)
        q[s] = q6_k_values(b.ql + 64 * half, b.qh + 32 * half, s / 2, s % 2);
      for (int c = 0; c < kColumns; ++c) {
        const ActivationRow v = x[c].from(8 * i + 4 * half);
        int32x4_t scaled[2];
#pragma GCC unroll 2
        for (int p = 0; p < 2; ++p) {
          int32x4_t products[4];
          for (int j = 0; j < 4; ++j)
            products[j] = arm::dot_bytes(q[4 * p + j], vld1q_s8(v.q + 64 * p + 16 * j));
          scaled[p] = vmulq_s32(arm::sums_of(products), scale[p]);
        }
        total[c] = vfmaq_f32(total[c], vcvtq_f32_s32(vpaddq_s32(scaled[0], scaled[1])),
                             vmulq_n_f32(vld1q_f32(v.scale), d));
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) out[c] = vaddvq_f32(total[c]);
}

#endif

struct Source;

#endif

}  // namespace

QuantizedDot q6_k_dot([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level >= SimdLevel::avx512) {
    return rows_dot<q6_k_avx512<1, 1>, q6_k_avx512<4, 1>, q6_k_avx512<1, 4>>();
  }
  if (level == SimdLevel::avx2) {
    return quantized_dot<q6_k_avx2<1>, q6_k_avx2<4>>();
  }
#elif defined(__aarch64__)
  if (level == SimdLevel::neon) return quantized_dot<q6_k_neon<1>, q6_k_neon<4>>();
#endif
  return quantized_dot<q6_k_generic<1>, q6_k_generic<4>>();
}

PanelKernel q6_k_panel(SimdLevel level) { return quantized_panel<Source>(level); }

}  // namespace l2a
