// Rows of f32, f16 and bf16 against f32 vectors: projections of unquantized weights, and attention,
// where a row is a key (dot) or a value (axpy) of the cache.
//
// Several accumulators a column, because a multiply-add takes four or five cycles and two start in
// each. A Format loads and stores one value, eight with AVX2, four with NEON, and up to sixteen under a
// mask with AVX-512, which therefore needs no scalar tail. from_f32 is bound by memory, and AVX2's serves both.
#pragma once

#include <cstring>

#include "backends/cpu/arm.h"
#include "backends/cpu/dot/dot.h"
#include "backends/cpu/dot/group_rows.h"
#include "backends/cpu/x86.h"
#include "graph/half.h"

namespace l2a {

template <class Format, int kColumns>
void float_dot_generic(std::int64_t k, const std::byte* row, const float* const* x, float* out) {
  constexpr int kLanes = 8;  // independent sums, which a compiler may keep in a vector
  float total[kColumns][kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    for (int lane = 0; lane < kLanes; ++lane) {
      const float w = Format::load(row + (i + lane) * Format::kBytes);
      for (int c = 0; c < kColumns; ++c) {
        total[c][lane] += w * x[c][i + lane];
      }
    }
  }
  for (int lane = 0; i < k; ++i, ++lane) {
    const float w = Format::load(row + i * Format::kBytes);
    for (int c = 0; c < kColumns; ++c) {
      total[c][lane] += w * x[c][i];
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    out[c] = 0;
    for (int lane = 0; lane < kLanes; ++lane) {
      out[c] += total[c][lane];
    }
  }
}

template <class Format>
void axpy_generic(std::int64_t n, float a, const std::byte* row, float* y) {
  for (std::int64_t i = 0; i < n; ++i) {
    y[i] += a * Format::load(row + i * Format::kBytes);
  }
}

template <class Format>
void to_f32_generic(std::int64_t n, const std::byte* row, float* out) {
  for (std::int64_t i = 0; i < n; ++i) {
    out[i] = Format::load(row + i * Format::kBytes);
  }
}

template <class Format>
void from_f32_generic(std::int64_t n, const float* x, std::byte* row) {
  for (std::int64_t i = 0; i < n; ++i) {
    Format::store(x[i], row + i * Format::kBytes);
  }
}

#if defined(__x86_64__)

template <class Format, int kColumns>
L2A_AVX2 void float_dot_avx2(std::int64_t k, const std::byte* row, const float* const* x,
                             float* out) {
  constexpr int kChains = kColumns == 1 ? 4 : 2;
  __m256 total[kColumns][kChains];
  for (int c = 0; c < kColumns; ++c) {
    for (int chain = 0; chain < kChains; ++chain) {
      total[c][chain] = _mm256_setzero_ps();
    }
  }
  std::int64_t i = 0;
  for (; i + 8 * kChains <= k; i += 8 * kChains) {
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains; ++chain) {
      const std::int64_t at = i + 8 * chain;
      const __m256 w = Format::load8(row + at * Format::kBytes);
      for (int c = 0; c < kColumns; ++c) {
        total[c][chain] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x[c] + at), total[c][chain]);
      }
    }
  }
  for (; i + 8 <= k; i += 8) {
    const __m256 w = Format::load8(row + i * Format::kBytes);
    for (int c = 0; c < kColumns; ++c) {
      total[c][0] = _mm256_fmadd_ps(w, _mm256_loadu_ps(x[c] + i), total[c][0]);
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    for (int chain = 1; chain < kChains; ++chain) {
      total[c][0] = _mm256_add_ps(total[c][0], total[c][chain]);
    }
    out[c] = x86::sum_lanes(total[c][0]);
  }
  for (; i < k; ++i) {
    const float w = Format::load(row + i * Format::kBytes);
    for (int c = 0; c < kColumns; ++c) {
      out[c] += w * x[c][i];
    }
  }
}

template <class Format, int kColumns>
L2A_AVX512 void float_dot_avx512(std::int64_t k, const std::byte* row, const float* const* x,
                                 float* out) {
  constexpr int kChains = kColumns == 1 ? 4 : 2;
  constexpr __mmask16 kAll = 0xffff;
  __m512 total[kColumns][kChains];
  for (int c = 0; c < kColumns; ++c) {
    for (int chain = 0; chain < kChains; ++chain) {
      total[c][chain] = _mm512_setzero_ps();
    }
  }
  std::int64_t i = 0;
  for (; i + 16 * kChains <= k; i += 16 * kChains) {
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains; ++chain) {
      const std::int64_t at = i + 16 * chain;
      const __m512 w = Format::load16(kAll, row + at * Format::kBytes);
      for (int c = 0; c < kColumns; ++c) {
        total[c][chain] = _mm512_fmadd_ps(w, _mm512_loadu_ps(x[c] + at), total[c][chain]);
      }
    }
  }
  for (; i < k; i += 16) {
    const __mmask16 mask = x86::first_lanes(k - i);
    const __m512 w = Format::load16(mask, row + i * Format::kBytes);
    for (int c = 0; c < kColumns; ++c) {
      total[c][0] = _mm512_fmadd_ps(w, _mm512_maskz_loadu_ps(mask, x[c] + i), total[c][0]);
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    for (int chain = 1; chain < kChains; ++chain) {
      total[c][0] = _mm512_add_ps(total[c][0], total[c][chain]);
    }
    out[c] = x86::sum_lanes(total[c][0]);
  }
}

template <class Format>
L2A_AVX2 void axpy_avx2(std::int64_t n, float a, const std::byte* row, float* y) {
  const __m256 scale = _mm256_set1_ps(a);
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256 v = Format::load8(row + i * Format::kBytes);
    _mm256_storeu_ps(y + i, _mm256_fmadd_ps(scale, v, _mm256_loadu_ps(y + i)));
  }
  axpy_generic<Format>(n - i, a, row + i * Format::kBytes, y + i);
}

template <class Format>
L2A_AVX512 void axpy_avx512(std::int64_t n, float a, const std::byte* row, float* y) {
  const __m512 scale = _mm512_set1_ps(a);
  for (std::int64_t i = 0; i < n; i += 16) {
    const __mmask16 mask = x86::first_lanes(n - i);
    const __m512 v = Format::load16(mask, row + i * Format::kBytes);
    const __m512 sum = _mm512_fmadd_ps(scale, v, _mm512_maskz_loadu_ps(mask, y + i));
    _mm512_mask_storeu_ps(y + i, mask, sum);
  }
}

template <class Format>
L2A_AVX2 void to_f32_avx2(std::int64_t n, const std::byte* row, float* out) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(out + i, Format::load8(row + i * Format::kBytes));
  }
  to_f32_generic<Format>(n - i, row + i * Format::kBytes, out + i);
}

template <class Format>
L2A_AVX512 void to_f32_avx512(std::int64_t n, const std::byte* row, float* out) {
  constexpr __mmask16 kAll = 0xffff;
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    _mm512_storeu_ps(out + i, Format::load16(kAll, row + i * Format::kBytes));
  }
  if (i == n) return;
  const __mmask16 mask = x86::first_lanes(n - i);
  _mm512_mask_storeu_ps(out + i, mask, Format::load16(mask, row + i * Format::kBytes));
}

template <class Format>
L2A_AVX2 void from_f32_avx2(std::int64_t n, const float* x, std::byte* row) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    Format::store8(_mm256_loadu_ps(x + i), row + i * Format::kBytes);
  }
  from_f32_generic<Format>(n - i, x + i, row + i * Format::kBytes);
}

template <class Format>
struct FloatLoad {
  L2A_AVX512 static __m512 at(const std::byte* row, std::int64_t i) {
    return Format::load16(__mmask16{0xffff}, row + i * Format::kBytes);
  }
};

#elif defined(__aarch64__)

template <class Format, int kColumns>
void float_dot_neon(std::int64_t k, const std::byte* row, const float* const* x, float* out) {
  constexpr int kChains = 4;
  float32x4_t total[kColumns][kChains];
  for (auto& column : total) {
    for (float32x4_t& sum : column) sum = vdupq_n_f32(0);
  }
  std::int64_t i = 0;
  for (; i + 4 * kChains <= k; i += 4 * kChains) {
#pragma GCC unroll 4
    for (int chain = 0; chain < kChains; ++chain) {
      const std::int64_t at = i + 4 * chain;
      const float32x4_t w = Format::load4(row + at * Format::kBytes);
      for (int c = 0; c < kColumns; ++c) {
        total[c][chain] = vfmaq_f32(total[c][chain], w, vld1q_f32(x[c] + at));
      }
    }
  }
  for (; i + 4 <= k; i += 4) {
    const float32x4_t w = Format::load4(row + i * Format::kBytes);
    for (int c = 0; c < kColumns; ++c) total[c][0] = vfmaq_f32(total[c][0], w, vld1q_f32(x[c] + i));
  }
  for (int c = 0; c < kColumns; ++c) out[c] = arm::sum_lanes(total[c]);
  for (; i < k; ++i) {
    const float w = Format::load(row + i * Format::kBytes);
    for (int c = 0; c < kColumns; ++c) out[c] += w * x[c][i];
  }
}

template <class Format>
void axpy_neon(std::int64_t n, float a, const std::byte* row, float* y) {
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const float32x4_t v = Format::load4(row + i * Format::kBytes);
    vst1q_f32(y + i, vfmaq_n_f32(vld1q_f32(y + i), v, a));
  }
  axpy_generic<Format>(n - i, a, row + i * Format::kBytes, y + i);
}

template <class Format>
void to_f32_neon(std::int64_t n, const std::byte* row, float* out) {
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) vst1q_f32(out + i, Format::load4(row + i * Format::kBytes));
  to_f32_generic<Format>(n - i, row + i * Format::kBytes, out + i);
}

template <class Format>
void from_f32_neon(std::int64_t n, const float* x, std::byte* row) {
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4) Format::store4(vld1q_f32(x + i), row + i * Format::kBytes);
  from_f32_generic<Format>(n - i, x + i, row + i * Format::kBytes);
}

#endif

// The two faces of a dot kernel, as one_column and quantized_dot are for quantized rows.
template <auto kKernel>
float one_float_column(std::int64_t k, const std::byte* row, const float* x) {
  float out;
  kKernel(k, row, &x, &out);
  return out;
}

template <class Format>
FloatRow float_row([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level >= SimdLevel::avx512) {
    return {one_float_column<float_dot_avx512<Format, 1>>,
            float_dot_avx512<Format, 4>,
            axpy_avx512<Format>,
            to_f32_avx512<Format>,
            from_f32_avx2<Format>,
            group_dots<FloatLoad<Format>>,
            group_sums<FloatLoad<Format>>};
  }
  if (level == SimdLevel::avx2) {
    return {one_float_column<float_dot_avx2<Format, 1>>, float_dot_avx2<Format, 4>,
            axpy_avx2<Format>, to_f32_avx2<Format>, from_f32_avx2<Format>};
  }
#elif defined(__aarch64__)
  if (level == SimdLevel::neon) {
    return {one_float_column<float_dot_neon<Format, 1>>, float_dot_neon<Format, 4>,
            axpy_neon<Format>, to_f32_neon<Format>, from_f32_neon<Format>};
  }
#endif
  return {one_float_column<float_dot_generic<Format, 1>>, float_dot_generic<Format, 4>,
          axpy_generic<Format>, to_f32_generic<Format>, from_f32_generic<Format>};
}

}  // namespace l2a
