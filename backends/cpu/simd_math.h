// exp for vectors of floats.
//
// exp(x) = 2^n · e^r with n = round(x / ln 2), r in [-ln 2 / 2, ln 2 / 2]. r is found with ln 2 in
// two parts, so that n · ln 2 is exact where it matters; e^r is its Taylor polynomial of degree 7,
// whose first dropped term is 5e-9 of the result. Below about -87.3 the result is 0 instead of a
// subnormal, above 88.7 it is infinite; NaN stays NaN. Within 2 ulp of std::exp elsewhere (tested).
#pragma once

#include <limits>

#include "backends/cpu/arm.h"
#include "backends/cpu/x86.h"

namespace l2a {

inline constexpr float kLog2E = 1.44269504f;
inline constexpr float kLn2High = 0.693359375f;  // nine bits: times any n it is exact
inline constexpr float kLn2Low = -2.12194440e-4f;
inline constexpr float kExpMin = -87.33654f;  // the smallest normal number
inline constexpr float kExpMax = 88.72283f;   // the largest finite one
inline constexpr float kExpTerms[] = {1.0f / 5040, 1.0f / 720, 1.0f / 120, 1.0f / 24,
                                      1.0f / 6,    0.5f,       1.0f,       1.0f};

}  // namespace l2a

#if defined(__x86_64__)

namespace l2a::x86 {

// 2^e for e in the range of an exponent.
L2A_AVX2 inline __m256 power_of_two(__m256i e) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(e, _mm256_set1_epi32(127)), 23));
}

L2A_AVX2 inline __m256 exp(__m256 x) {
  const __m256 min = _mm256_set1_ps(kExpMin);
  const __m256 max = _mm256_set1_ps(kExpMax);
  // With x second, min and max pass a NaN on.
  const __m256 clamped = _mm256_min_ps(max, _mm256_max_ps(min, x));
  const __m256 n = _mm256_round_ps(_mm256_mul_ps(clamped, _mm256_set1_ps(kLog2E)),
                                   _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m256 high = _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2High), clamped);
  const __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(kLn2Low), high);
  __m256 p = _mm256_set1_ps(kExpTerms[0]);
#pragma GCC unroll 8
  for (int i = 1; i < 8; ++i) {
    p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(kExpTerms[i]));
  }
  // 2^n as two factors, because n reaches 128, which is no exponent of a float.
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i part = _mm256_srai_epi32(whole, 1);
  p = _mm256_mul_ps(p, power_of_two(part));
  p = _mm256_mul_ps(p, power_of_two(_mm256_sub_epi32(whole, part)));
  p = _mm256_andnot_ps(_mm256_cmp_ps(x, min, _CMP_LT_OQ), p);
  const __m256 infinity = _mm256_set1_ps(std::numeric_limits<float>::infinity());
  return _mm256_blendv_ps(p, infinity, _mm256_cmp_ps(x, max, _CMP_GT_OQ));
}

L2A_AVX512 inline __m512 exp(__m512 x) {
  const __m512 min = _mm512_set1_ps(kExpMin);
  const __m512 max = _mm512_set1_ps(kExpMax);
  const __m512 clamped = _mm512_min_ps(max, _mm512_max_ps(min, x));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(clamped, _mm512_set1_ps(kLog2E)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 high = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2High), clamped);
  const __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(kLn2Low), high);
  __m512 p = _mm512_set1_ps(kExpTerms[0]);
#pragma GCC unroll 8
  for (int i = 1; i < 8; ++i) {
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kExpTerms[i]));
  }
  p = _mm512_maskz_scalef_ps(_mm512_cmp_ps_mask(x, min, _CMP_NLT_UQ), p, n);
  const __m512 infinity = _mm512_set1_ps(std::numeric_limits<float>::infinity());
  return _mm512_mask_mov_ps(p, _mm512_cmp_ps_mask(x, max, _CMP_GT_OQ), infinity);
}

}  // namespace l2a::x86

#elif defined(__aarch64__)

namespace l2a::arm {

// 2^e for e in the range of an exponent.
inline float32x4_t power_of_two(int32x4_t e) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(e, vdupq_n_s32(127)), 23));
}

inline float32x4_t exp(float32x4_t x) {
  const float32x4_t min = vdupq_n_f32(kExpMin), max = vdupq_n_f32(kExpMax);
  // These pass a NaN on.
  const float32x4_t clamped = vminq_f32(vmaxq_f32(x, min), max);
  const float32x4_t n = vrndnq_f32(vmulq_n_f32(clamped, kLog2E));
  const float32x4_t high = vfmsq_n_f32(clamped, n, kLn2High);
  const float32x4_t r = vfmsq_n_f32(high, n, kLn2Low);
  float32x4_t p = vdupq_n_f32(kExpTerms[0]);
#pragma GCC unroll 8
  for (int i = 1; i < 8; ++i) p = vfmaq_f32(vdupq_n_f32(kExpTerms[i]), p, r);
  // As x86::exp: two factors, because n reaches 128.
  const int32x4_t whole = vcvtnq_s32_f32(n);
  const int32x4_t part = vshrq_n_s32(whole, 1);
  p = vmulq_f32(p, power_of_two(part));
  p = vmulq_f32(p, power_of_two(vsubq_s32(whole, part)));
  p = vbslq_f32(vcltq_f32(x, min), vdupq_n_f32(0), p);
  const float32x4_t infinity = vdupq_n_f32(std::numeric_limits<float>::infinity());
  return vbslq_f32(vcgtq_f32(x, max), infinity, p);
}

}  // namespace l2a::arm

#endif
