// q8_0 rows against f32 vectors: keys and values of a cache. What multiplies them stays f32, unlike in
// dot/q8_0.cpp, since a query is used once for each key and its rounding would be an error of its own.
#include <span>

#include "backends/cpu/dot/float_row.h"
#include "ops/dequantize.h"
#include "ops/quantize.h"

namespace l2a {
namespace {

constexpr std::int64_t kBlock = 32;
constexpr std::int64_t kBlockBytes = 34;  // an f16 scale, then the codes

float scale_of(const std::byte* block) {
  std::uint16_t bits;
  std::memcpy(&bits, block, sizeof bits);
  return f16_to_float(bits);
}

const std::int8_t* codes_of(const std::byte* block) {
  return reinterpret_cast<const std::int8_t*>(block + 2);
}

template <int kColumns>
void dot_generic(std::int64_t k, const std::byte* row, const float* const* x, float* out) {
  for (int c = 0; c < kColumns; ++c) out[c] = 0;
  for (std::int64_t i = 0; i < k; i += kBlock, row += kBlockBytes) {
    const std::int8_t* codes = codes_of(row);
    const float scale = scale_of(row);
    for (int c = 0; c < kColumns; ++c) {
      float sum = 0;
      for (std::int64_t j = 0; j < kBlock; ++j) sum += static_cast<float>(codes[j]) * x[c][i + j];
      out[c] += scale * sum;
    }
  }
}

void axpy_generic(std::int64_t n, float a, const std::byte* row, float* y) {
  for (std::int64_t i = 0; i < n; i += kBlock, row += kBlockBytes) {
    const std::int8_t* codes = codes_of(row);
    const float scale = a * scale_of(row);
    for (std::int64_t j = 0; j < kBlock; ++j) y[i + j] += scale * static_cast<float>(codes[j]);
  }
}

void to_f32_generic(std::int64_t n, const std::byte* row, float* out) {
  dequantize_row(Dtype::q8_0, {row, dtype_bytes(Dtype::q8_0, n)},
                 {out, static_cast<std::size_t>(n)});
}

void from_f32(std::int64_t n, const float* x, std::byte* row) {
  quantize_row(Dtype::q8_0, {x, static_cast<std::size_t>(n)}, {row, dtype_bytes(Dtype::q8_0, n)});
}

#if defined(__x86_64__)

L2A_AVX2 __m256 load8(const std::int8_t* codes) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes))));
}

L2A_AVX512 __m512 load16(const std::int8_t* codes) {
  return _mm512_cvtepi32_ps(
      _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes))));
}

// Sixteen values, half a block.
struct Load {
  L2A_AVX512 static __m512 at(const std::byte* row, std::int64_t i) {
    const std::byte* block = row + i / kBlock * kBlockBytes;
    std::int16_t bits;
    std::memcpy(&bits, block, sizeof bits);
    const __m512 scale = _mm512_cvtph_ps(_mm256_set1_epi16(bits));
    return _mm512_mul_ps(scale, load16(codes_of(block) + i % kBlock));
  }
};

template <int kColumns>
L2A_AVX2 void dot_avx2(std::int64_t k, const std::byte* row, const float* const* x, float* out) {
  __m256 total[kColumns];
  for (int c = 0; c < kColumns; ++c) total[c] = _mm256_setzero_ps();
  for (std::int64_t i = 0; i < k; i += kBlock, row += kBlockBytes) {
    const __m256 scale = _mm256_set1_ps(scale_of(row));
    __m256 w[4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) w[j] = _mm256_mul_ps(scale, load8(codes_of(row) + 8 * j));
    for (int c = 0; c < kColumns; ++c) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        total[c] = _mm256_fmadd_ps(w[j], _mm256_loadu_ps(x[c] + i + 8 * j), total[c]);
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) out[c] = x86::sum_lanes(total[c]);
}

template <int kColumns>
L2A_AVX512 void dot_avx512(std::int64_t k, const std::byte* row, const float* const* x,
                           float* out) {
  __m512 total[kColumns][2];
  for (int c = 0; c < kColumns; ++c) total[c][0] = total[c][1] = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < k; i += kBlock, row += kBlockBytes) {
    const __m512 scale = _mm512_set1_ps(scale_of(row));
    const __m512 low = _mm512_mul_ps(scale, load16(codes_of(row)));
    const __m512 high = _mm512_mul_ps(scale, load16(codes_of(row) + 16));
    for (int c = 0; c < kColumns; ++c) {
      total[c][0] = _mm512_fmadd_ps(low, _mm512_loadu_ps(x[c] + i), total[c][0]);
      total[c][1] = _mm512_fmadd_ps(high, _mm512_loadu_ps(x[c] + i + 16), total[c][1]);
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    out[c] = x86::sum_lanes(_mm512_add_ps(total[c][0], total[c][1]));
  }
}

L2A_AVX2 void axpy_avx2(std::int64_t n, float a, const std::byte* row, float* y) {
  for (std::int64_t i = 0; i < n; i += kBlock, row += kBlockBytes) {
    const __m256 scale = _mm256_set1_ps(a * scale_of(row));
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      float* at = y + i + 8 * j;
      _mm256_storeu_ps(at,
                       _mm256_fmadd_ps(scale, load8(codes_of(row) + 8 * j), _mm256_loadu_ps(at)));
    }
  }
}

L2A_AVX512 void axpy_avx512(std::int64_t n, float a, const std::byte* row, float* y) {
  for (std::int64_t i = 0; i < n; i += kBlock, row += kBlockBytes) {
    const __m512 scale = _mm512_set1_ps(a * scale_of(row));
    for (std::int64_t j = 0; j < kBlock; j += 16) {
      float* at = y + i + j;
      _mm512_storeu_ps(at, _mm512_fmadd_ps(scale, load16(codes_of(row) + j), _mm512_loadu_ps(at)));
    }
  }
}

L2A_AVX2 void to_f32_avx2(std::int64_t n, const std::byte* row, float* out) {
  for (std::int64_t i = 0; i < n; i += kBlock, row += kBlockBytes) {
    const __m256 scale = _mm256_set1_ps(scale_of(row));
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      _mm256_storeu_ps(out + i + 8 * j, _mm256_mul_ps(scale, load8(codes_of(row) + 8 * j)));
    }
  }
}

L2A_AVX512 void to_f32_avx512(std::int64_t n, const std::byte* row, float* out) {
  for (std::int64_t i = 0; i < n; i += kBlock, row += kBlockBytes) {
    const __m512 scale = _mm512_set1_ps(scale_of(row));
    _mm512_storeu_ps(out + i, _mm512_mul_ps(scale, load16(codes_of(row))));
    _mm512_storeu_ps(out + i + 16, _mm512_mul_ps(scale, load16(codes_of(row) + 16)));
  }
}

#elif defined(__aarch64__)

// The codes of a block in eight vectors.
void widen(const std::int8_t* codes, float32x4_t (&out)[8]) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const int16x8_t words = vmovl_s8(vld1_s8(codes + 8 * i));
    out[2 * i] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(words)));
    out[2 * i + 1] = vcvtq_f32_s32(vmovl_high_s16(words));
  }
}

template <int kColumns>
void dot_neon(std::int64_t k, const std::byte* row, const float* const* x, float* out) {
  constexpr int kChains = 4;
  float32x4_t total[kColumns][kChains];
  for (auto& column : total) {
    for (float32x4_t& sum : column) sum = vdupq_n_f32(0);
  }
  for (std::int64_t i = 0; i < k; i += kBlock, row += kBlockBytes) {
    float32x4_t w[8];
    widen(codes_of(row), w);
    const float scale = arm::to_float(reinterpret_cast<const BlockQ8_0*>(row)->d);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      w[j] = vmulq_n_f32(w[j], scale);
      for (int c = 0; c < kColumns; ++c) {
        float32x4_t& sum = total[c][j % kChains];
        sum = vfmaq_f32(sum, w[j], vld1q_f32(x[c] + i + 4 * j));
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) out[c] = arm::sum_lanes(total[c]);
}

void axpy_neon(std::int64_t n, float a, const std::byte* row, float* y) {
  for (std::int64_t i = 0; i < n; i += kBlock, row += kBlockBytes) {
    float32x4_t w[8];
    widen(codes_of(row), w);
    const float scale = a * arm::to_float(reinterpret_cast<const BlockQ8_0*>(row)->d);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) {
      float* at = y + i + 4 * j;
      vst1q_f32(at, vfmaq_n_f32(vld1q_f32(at), w[j], scale));
    }
  }
}

void to_f32_neon(std::int64_t n, const std::byte* row, float* out) {
  for (std::int64_t i = 0; i < n; i += kBlock, row += kBlockBytes) {
    float32x4_t w[8];
    widen(codes_of(row), w);
    const float scale = arm::to_float(reinterpret_cast<const BlockQ8_0*>(row)->d);
#pragma GCC unroll 8
    for (int j = 0; j < 8; ++j) vst1q_f32(out + i + 4 * j, vmulq_n_f32(w[j], scale));
  }
}

#endif

}  // namespace

FloatRow q8_0_row([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level >= SimdLevel::avx512) {
    return {one_float_column<dot_avx512<1>>,
            dot_avx512<4>,
            axpy_avx512,
            to_f32_avx512,
            from_f32,
            group_dots<Load>,
            group_sums<Load>};
  }
  if (level == SimdLevel::avx2) {
    return {one_float_column<dot_avx2<1>>, dot_avx2<4>, axpy_avx2, to_f32_avx2, from_f32};
  }
#elif defined(__aarch64__)
  if (level == SimdLevel::neon) {
    return {one_float_column<dot_neon<1>>, dot_neon<4>, axpy_neon, to_f32_neon, from_f32};
  }
#endif
  return {one_float_column<dot_generic<1>>, dot_generic<4>, axpy_generic, to_f32_generic, from_f32};
}

}  // namespace l2a
