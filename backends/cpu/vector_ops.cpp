#include "backends/cpu/vector_ops.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "backends/cpu/simd_math.h"

namespace l2a {
namespace {

// How a block of 32 activations is scaled, from its largest magnitude as bits. Integers, because
// they order magnitudes as floats do and put infinity and NaN on top instead of losing them.
struct BlockScale {
  float scale;    // what one step of q is worth
  float inverse;  // steps per unit
};
inline BlockScale block_scale(std::uint32_t largest_bits) {
  constexpr std::uint32_t kInfinity = 0x7f800000;
  constexpr std::uint32_t kTiny =
      0x0d800000;  // 2^-100: far below what a sum notices, and invertible
  if (largest_bits >= kInfinity) {
    return {std::numeric_limits<float>::quiet_NaN(), 0};
  }
  if (largest_bits < kTiny) {
    return {0, 0};
  }
  const float largest = std::bit_cast<float>(largest_bits);
  return {largest / 127.0f, 127.0f / largest};
}

void quantize_generic(std::int64_t k, const float* x, std::int8_t bias, ActivationRow out) {
  for (std::int64_t i = 0; i < k / 32; ++i) {
    const float* values = x + 32 * i;
    std::uint32_t largest = 0;
    for (int j = 0; j < 32; ++j) {
      largest = std::max(largest, std::bit_cast<std::uint32_t>(values[j]) & 0x7fffffffu);
    }
    const BlockScale s = block_scale(largest);
    int total = 0;
    for (int j = 0; j < 32; ++j) {
      const long q = s.inverse == 0 ? 0 : std::lrint(values[j] * s.inverse);
      out.q[32 * i + j] = static_cast<std::int8_t>(q ^ bias);
      total += static_cast<int>(q);
    }
    out.scale[i] = s.scale;
    out.sum[i] = s.scale * static_cast<float>(total);
  }
}

float sum_of_squares_generic(std::int64_t n, const float* x) {
  float total = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    total += x[i] * x[i];
  }
  return total;
}

float max_generic(std::int64_t n, const float* x) {
  float largest = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, x[i]);
  }
  return largest;
}

float exp_and_sum_generic(std::int64_t n, float shift, float* x) {
  float total = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] = std::exp(x[i] - shift);
    total += x[i];
  }
  return total;
}

void silu_mul_generic(std::int64_t n, const float* gate, const float* up, float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
  }
}

void scale_by_generic(std::int64_t n, const float* x, float scale, const float* weight,
                      float* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = x[i] * scale * weight[i];
}

void turn_pairs_from(std::int64_t p, std::int64_t pairs, const float* x, const float* table,
                     float* out) {
  for (; p < pairs; ++p) {
    const float cosine = table[2 * p], sine = table[2 * p + 1];
    const float a = x[p], b = x[p + pairs];
    out[p] = a * cosine - b * sine;
    out[p + pairs] = b * cosine + a * sine;
  }
}
void turn_halves_generic(std::int64_t pairs, const float* x, const float* table, float* out) {
  turn_pairs_from(0, pairs, x, table, out);
}

#if defined(__x86_64__)

// Up to eight floats, as many as are left; the other lanes are zero and their memory is not
// touched. Whole vectors take the plain instructions, because masked stores are microcoded on AMD
// processors.
L2A_AVX2 inline __m256i first_lanes(std::int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
L2A_AVX2 inline __m256 load_up_to8(std::int64_t left, const float* x) {
  return left >= 8 ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, first_lanes(left));
}
L2A_AVX2 inline void store_up_to8(std::int64_t left, float* x, __m256 v) {
  if (left >= 8) {
    _mm256_storeu_ps(x, v);
  } else {
    _mm256_maskstore_ps(x, first_lanes(left), v);
  }
}

L2A_AVX2 inline std::uint32_t largest_lane(__m256i v) {
  __m128i m = _mm_max_epu32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4e));
  m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xb1));
  return static_cast<std::uint32_t>(_mm_cvtsi128_si32(m));
}

L2A_AVX2 void quantize_avx2(std::int64_t k, const float* x, std::int8_t bias, ActivationRow out) {
  const __m256i magnitude_bits = _mm256_set1_epi32(0x7fffffff);
  // packs works in halves of the register; this puts its groups of four back in order.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  for (std::int64_t i = 0; i < k / 32; ++i) {
    __m256 v[4];
    __m256i largest = _mm256_setzero_si256();
    for (int j = 0; j < 4; ++j) {
      v[j] = _mm256_loadu_ps(x + 32 * i + 8 * j);
      largest =
          _mm256_max_epu32(largest, _mm256_and_si256(_mm256_castps_si256(v[j]), magnitude_bits));
    }
    const BlockScale s = block_scale(largest_lane(largest));
    __m256i bytes = _mm256_setzero_si256();
    if (s.inverse != 0) {
      const __m256 inverse = _mm256_set1_ps(s.inverse);
      __m256i q[4];
      for (int j = 0; j < 4; ++j) {
        q[j] = _mm256_cvtps_epi32(_mm256_mul_ps(v[j], inverse));
      }
      bytes = _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
      bytes = _mm256_permutevar8x32_epi32(bytes, order);
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out.q + 32 * i),
                        _mm256_xor_si256(bytes, _mm256_set1_epi8(bias)));
    const __m256i sums = x86::dot_bytes(_mm256_set1_epi8(1), bytes);
    __m128i total = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    total = _mm_add_epi32(total, _mm_shuffle_epi32(total, 0x4e));
    total = _mm_add_epi32(total, _mm_shuffle_epi32(total, 0xb1));
    out.scale[i] = s.scale;
    out.sum[i] = s.scale * static_cast<float>(_mm_cvtsi128_si32(total));
  }
}

L2A_AVX512 void quantize_avx512(std::int64_t k, const float* x, std::int8_t bias,
                                ActivationRow out) {
  const __m512i magnitude_bits = _mm512_set1_epi32(0x7fffffff);
  for (std::int64_t i = 0; i < k / 32; ++i) {
    const __m512 v[2] = {_mm512_loadu_ps(x + 32 * i), _mm512_loadu_ps(x + 32 * i + 16)};
    const __m512i bits =
        _mm512_max_epu32(_mm512_and_si512(_mm512_castps_si512(v[0]), magnitude_bits),
                         _mm512_and_si512(_mm512_castps_si512(v[1]), magnitude_bits));
    const BlockScale s = block_scale(largest_lane(
        _mm256_max_epu32(_mm512_castsi512_si256(bits), _mm512_extracti64x4_epi64(bits, 1))));
    // Where there are no steps all are 0, of infinities and NaN too.
    const __mmask16 any = s.inverse != 0 ? __mmask16{0xffff} : __mmask16{0};
    const __m512 inverse = _mm512_set1_ps(s.inverse);
    const __m512i q[2] = {_mm512_maskz_cvtps_epi32(any, _mm512_mul_ps(v[0], inverse)),
                          _mm512_maskz_cvtps_epi32(any, _mm512_mul_ps(v[1], inverse))};
    const __m128i flip = _mm_set1_epi8(bias);
    for (int j = 0; j < 2; ++j) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out.q + 32 * i + 16 * j),
                       _mm_xor_si128(_mm512_cvtepi32_epi8(q[j]), flip));
    }
    out.scale[i] = s.scale;
    out.sum[i] =
        s.scale * static_cast<float>(_mm512_reduce_add_epi32(_mm512_add_epi32(q[0], q[1])));
  }
}

L2A_AVX2 float sum_of_squares_avx2(std::int64_t n, const float* x) {
  __m256 total[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int chain = 0; chain < 2; ++chain) {
      const __m256 v = _mm256_loadu_ps(x + i + 8 * chain);
      total[chain] = _mm256_fmadd_ps(v, v, total[chain]);
    }
  }
  for (; i < n; i += 8) {
    const __m256 v = load_up_to8(n - i, x + i);
    total[0] = _mm256_fmadd_ps(v, v, total[0]);
  }
  return x86::sum_lanes(_mm256_add_ps(total[0], total[1]));
}

L2A_AVX2 float max_avx2(std::int64_t n, const float* x) {
  __m256 largest = _mm256_set1_ps(-std::numeric_limits<float>::infinity());
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    largest = _mm256_max_ps(_mm256_loadu_ps(x + i), largest);
  }
  __m128 m = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
  m = _mm_max_ps(m, _mm_movehl_ps(m, m));
  m = _mm_max_ss(m, _mm_movehdup_ps(m));
  return std::max(_mm_cvtss_f32(m), max_generic(n - i, x + i));
}

L2A_AVX2 float exp_and_sum_avx2(std::int64_t n, float shift, float* x) {
  const __m256 shifts = _mm256_set1_ps(shift);
  __m256 total = _mm256_setzero_ps();
  for (std::int64_t i = 0; i < n; i += 8) {
    const std::int64_t left = n - i;
    __m256 v = x86::exp(_mm256_sub_ps(load_up_to8(left, x + i), shifts));
    store_up_to8(left, x + i, v);
    if (left < 8) {
      v = _mm256_and_ps(v, _mm256_castsi256_ps(first_lanes(left)));
    }
    total = _mm256_add_ps(total, v);
  }
  return x86::sum_lanes(total);
}

L2A_AVX2 void silu_mul_avx2(std::int64_t n, const float* gate, const float* up, float* out) {
  const __m256 one = _mm256_set1_ps(1);
  for (std::int64_t i = 0; i < n; i += 8) {
    const std::int64_t left = n - i;
    const __m256 g = load_up_to8(left, gate + i);
    const __m256 decay = x86::exp(_mm256_sub_ps(_mm256_setzero_ps(), g));
    const __m256 silu = _mm256_div_ps(g, _mm256_add_ps(one, decay));
    store_up_to8(left, out + i, _mm256_mul_ps(silu, load_up_to8(left, up + i)));
  }
}

L2A_AVX2 void scale_by_avx2(std::int64_t n, const float* x, float scale, const float* weight,
                            float* out) {
  const __m256 scales = _mm256_set1_ps(scale);
  for (std::int64_t i = 0; i < n; i += 8) {
    const std::int64_t left = n - i;
    const __m256 scaled = _mm256_mul_ps(load_up_to8(left, x + i), scales);
    store_up_to8(left, out + i, _mm256_mul_ps(scaled, load_up_to8(left, weight + i)));
  }
}

// A shuffle of two vectors works in halves of the register and gives places 0 1 4 5 and 2 3 6 7.
L2A_AVX2 inline __m256 in_order(__m256 v) {
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(v), 0xd8));
}
L2A_AVX2 void turn_halves_avx2(std::int64_t pairs, const float* x, const float* table, float* out) {
  std::int64_t p = 0;
  for (; p + 8 <= pairs; p += 8) {
    const __m256 first = _mm256_loadu_ps(table + 2 * p),
                 second = _mm256_loadu_ps(table + 2 * p + 8);
    const __m256 cosine = in_order(_mm256_shuffle_ps(first, second, 0x88));
    const __m256 sine = in_order(_mm256_shuffle_ps(first, second, 0xdd));
    const __m256 a = _mm256_loadu_ps(x + p), b = _mm256_loadu_ps(x + p + pairs);
    _mm256_storeu_ps(out + p, _mm256_fmsub_ps(a, cosine, _mm256_mul_ps(b, sine)));
    _mm256_storeu_ps(out + p + pairs, _mm256_fmadd_ps(b, cosine, _mm256_mul_ps(a, sine)));
  }
  turn_pairs_from(p, pairs, x, table, out);
}

#elif defined(__aarch64__)

void quantize_neon(std::int64_t k, const float* x, std::int8_t bias, ActivationRow out) {
  for (std::int64_t i = 0; i < k / 32; ++i) {
    float32x4_t v[8];
    uint32x4_t largest = vdupq_n_u32(0);
    for (int j = 0; j < 8; ++j) {
      v[j] = vld1q_f32(x + 32 * i + 4 * j);
      largest = vmaxq_u32(largest, vreinterpretq_u32_f32(vabsq_f32(v[j])));
    }
    const BlockScale s = block_scale(vmaxvq_u32(largest));
    int16x8_t words[4] = {};
    // Where there are no steps all are 0, of infinities and NaN too.
    if (s.inverse != 0) {
      for (int j = 0; j < 4; ++j) {
        const int32x4_t low = vcvtnq_s32_f32(vmulq_n_f32(v[2 * j], s.inverse));
        const int32x4_t high = vcvtnq_s32_f32(vmulq_n_f32(v[2 * j + 1], s.inverse));
        words[j] = vcombine_s16(vmovn_s32(low), vmovn_s32(high));
      }
    }
    for (int j = 0; j < 2; ++j) {
      const int8x16_t bytes = vcombine_s8(vmovn_s16(words[2 * j]), vmovn_s16(words[2 * j + 1]));
      vst1q_s8(out.q + 32 * i + 16 * j, veorq_s8(bytes, vdupq_n_s8(bias)));
    }
    const int16x8_t sums = vaddq_s16(vaddq_s16(words[0], words[1]), vaddq_s16(words[2], words[3]));
    out.scale[i] = s.scale;
    out.sum[i] = s.scale * static_cast<float>(vaddvq_s16(sums));
  }
}

float sum_of_squares_neon(std::int64_t n, const float* x) {
  constexpr int kChains = 4;
  float32x4_t total[kChains];
  for (float32x4_t& sum : total) sum = vdupq_n_f32(0);
  std::int64_t i = 0;
  for (; i + 4 * kChains <= n; i += 4 * kChains) {
    for (int chain = 0; chain < kChains; ++chain) {
      const float32x4_t v = vld1q_f32(x + i + 4 * chain);
      total[chain] = vfmaq_f32(total[chain], v, v);
    }
  }
  return arm::sum_lanes(total) + sum_of_squares_generic(n - i, x + i);
}

// As std::max does, it passes over NaN.
float max_neon(std::int64_t n, const float* x) {
  float32x4_t largest = vdupq_n_f32(-std::numeric_limits<float>::infinity());
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) largest = vmaxnmq_f32(largest, vld1q_f32(x + i));
  return std::max(vmaxnmvq_f32(largest), max_generic(n - i, x + i));
}

float exp_and_sum_neon(std::int64_t n, float shift, float* x) {
  const float32x4_t shifts = vdupq_n_f32(shift);
  float32x4_t total = vdupq_n_f32(0);
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const float32x4_t v = arm::exp(vsubq_f32(vld1q_f32(x + i), shifts));
    vst1q_f32(x + i, v);
    total = vaddq_f32(total, v);
  }
  return vaddvq_f32(total) + exp_and_sum_generic(n - i, shift, x + i);
}

void silu_mul_neon(std::int64_t n, const float* gate, const float* up, float* out) {
  const float32x4_t one = vdupq_n_f32(1);
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const float32x4_t g = vld1q_f32(gate + i);
    const float32x4_t silu = vdivq_f32(g, vaddq_f32(one, arm::exp(vnegq_f32(g))));
    vst1q_f32(out + i, vmulq_f32(silu, vld1q_f32(up + i)));
  }
  silu_mul_generic(n - i, gate + i, up + i, out + i);
}

#endif

}  // namespace

void set_vector_ops([[maybe_unused]] SimdLevel level, SimdKernels& kernels) {
  kernels.quantize_activation_row = quantize_generic;
  kernels.sum_of_squares = sum_of_squares_generic;
  kernels.max = max_generic;
  kernels.exp_and_sum = exp_and_sum_generic;
  kernels.silu_mul = silu_mul_generic;
  kernels.scale_by = scale_by_generic;
  kernels.turn_halves = turn_halves_generic;
#if defined(__x86_64__)
  if (level >= SimdLevel::avx2) {
    kernels.quantize_activation_row = level >= SimdLevel::avx512 ? quantize_avx512 : quantize_avx2;
    kernels.sum_of_squares = sum_of_squares_avx2;
    kernels.max = max_avx2;
    kernels.exp_and_sum = exp_and_sum_avx2;
    kernels.silu_mul = silu_mul_avx2;
    kernels.scale_by = scale_by_avx2;
    kernels.turn_halves = turn_halves_avx2;
  }
#elif defined(__aarch64__)
  // Compilers make vectors of the others' plain loops.
  if (level == SimdLevel::neon) {
    kernels.quantize_activation_row = quantize_neon;
    kernels.sum_of_squares = sum_of_squares_neon;
    kernels.max = max_neon;
    kernels.exp_and_sum = exp_and_sum_neon;
    kernels.silu_mul = silu_mul_neon;
  }
#endif
}

}  // namespace l2a
