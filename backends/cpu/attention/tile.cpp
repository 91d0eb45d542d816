#include "backends/cpu/attention/tile.h"

#include <algorithm>
#include <cmath>

#include "backends/cpu/simd_math.h"

namespace l2a {
namespace {

constexpr int kStep = kTileStep;
constexpr float kHidden = -std::numeric_limits<float>::infinity();  // the score of a key not seen

constexpr int kGenericLanes = 16;

void product_generic(const TileProduct& p) {
  for (std::int64_t i = 0; i < p.outputs; ++i) {
    float* c = p.c + i * kGenericLanes;
    for (int r = 0; r < kGenericLanes; ++r) c[r] = p.rescale == nullptr ? 0 : c[r] * p.rescale[r];
    for (std::int64_t k = 0; k < p.terms; ++k) {
      const float a = p.a[i * p.a_step + k * p.a_next];
      const float* b = p.b + k * kGenericLanes;
      for (int r = 0; r < kGenericLanes; ++r) c[r] += a * b[r];
    }
  }
}

void softmax_generic(std::int64_t rows, const TileSoftmax& s) {
  for (std::int64_t r = 0; r < rows; ++r) {
    float largest = s.largest[r];
    for (std::int64_t j = 0; j < s.keys; ++j) {
      const std::int64_t key = s.first + j;
      float& score = s.scores[j * rows + r];
      const bool visible =
          s.all_visible || key < s.sinks_end[r] || (key >= s.begin[r] && key < s.end[r]);
      if (!visible) score = kHidden;
      largest = std::max(largest, score);
    }
    float sum = 0;
    for (std::int64_t j = 0; j < s.keys; ++j) {
      float& score = s.scores[j * rows + r];
      score = std::exp(score - largest);
      sum += score;
    }
    s.rescale[r] = std::exp(s.largest[r] - largest);
    s.sum[r] = s.sum[r] * s.rescale[r] + sum;
    s.largest[r] = largest;
  }
}

void dots_generic(std::int64_t dim, std::int64_t count, const float* query, const float* rows,
                  std::int64_t stride, float* out) {
  for (std::int64_t i = 0; i < count; ++i, rows += stride) {
    constexpr int kSums = 8;  // independent, so that a compiler may keep them in a vector
    float sums[kSums] = {};
    std::int64_t d = 0;
    for (; d + kSums <= dim; d += kSums) {
      for (int s = 0; s < kSums; ++s) sums[s] += query[d + s] * rows[d + s];
    }
    for (int s = 0; d < dim; ++d, ++s) sums[s] += query[d] * rows[d];
    out[i] = 0;
    for (const float sum : sums) out[i] += sum;
  }
}

void weighted_sum_generic(std::int64_t dim, std::int64_t count, const float* weights,
                          const float* rows, std::int64_t stride, float rescale, float* y) {
  for (std::int64_t d = 0; d < dim; ++d) y[d] *= rescale;
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t d = 0; d < dim; ++d) y[d] += weights[i] * rows[i * stride + d];
  }
}

#if defined(__x86_64__)

template <int kVectors>
L2A_AVX512 void product_avx512(const TileProduct& p) {
  constexpr std::int64_t kRows = 16 * kVectors;
  for (std::int64_t i = 0; i < p.outputs; i += kStep) {
    __m512 total[kStep][kVectors];
    for (auto& row : total) {
      for (__m512& sum : row) sum = _mm512_setzero_ps();
    }
    const float* a = p.a + i * p.a_step;
    const float* b = p.b;
    for (std::int64_t k = 0; k < p.terms; ++k, a += p.a_next, b += kRows) {
      __m512 row[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) row[v] = _mm512_loadu_ps(b + 16 * v);
#pragma GCC unroll 4
      for (int s = 0; s < kStep; ++s) {
        const __m512 one = _mm512_set1_ps(a[s * p.a_step]);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) total[s][v] = _mm512_fmadd_ps(one, row[v], total[s][v]);
      }
    }
#pragma GCC unroll 4
    for (int s = 0; s < kStep; ++s) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        float* c = p.c + (i + s) * kRows + 16 * v;
        if (p.rescale != nullptr) {
          total[s][v] =
              _mm512_fmadd_ps(_mm512_loadu_ps(c), _mm512_loadu_ps(p.rescale + 16 * v), total[s][v]);
        }
        _mm512_storeu_ps(c, total[s][v]);
      }
    }
  }
}

L2A_AVX512 void softmax_avx512(std::int64_t rows, const TileSoftmax& s) {
  for (std::int64_t r = 0; r < rows; r += 16) {
    const __m512 before = _mm512_loadu_ps(s.largest + r);
    __m512 largest = before;
    if (s.all_visible) {
      for (std::int64_t j = 0; j < s.keys; ++j) {
        largest = _mm512_max_ps(_mm512_loadu_ps(s.scores + j * rows + r), largest);
      }
    } else {
      const __m512i sinks_end = _mm512_loadu_si512(s.sinks_end + r);
      const __m512i begin = _mm512_loadu_si512(s.begin + r), end = _mm512_loadu_si512(s.end + r);
      for (std::int64_t j = 0; j < s.keys; ++j) {
        const __m512i key = _mm512_set1_epi32(s.first + static_cast<std::int32_t>(j));
        const auto sink = _mm512_cmplt_epi32_mask(key, sinks_end);
        const auto near =
            _mm512_mask_cmplt_epi32_mask(_mm512_cmpge_epi32_mask(key, begin), key, end);
        float* score = s.scores + j * rows + r;
        const __m512 seen = _mm512_mask_loadu_ps(_mm512_set1_ps(kHidden),
                                                 static_cast<__mmask16>(sink | near), score);
        _mm512_storeu_ps(score, seen);
        largest = _mm512_max_ps(seen, largest);
      }
    }
    __m512 sum = _mm512_setzero_ps();
    for (std::int64_t j = 0; j < s.keys; ++j) {
      float* score = s.scores + j * rows + r;
      const __m512 p = x86::exp(_mm512_sub_ps(_mm512_loadu_ps(score), largest));
      _mm512_storeu_ps(score, p);
      sum = _mm512_add_ps(sum, p);
    }
    const __m512 rescale = x86::exp(_mm512_sub_ps(before, largest));
    _mm512_storeu_ps(s.rescale + r, rescale);
    _mm512_storeu_ps(s.sum + r, _mm512_fmadd_ps(_mm512_loadu_ps(s.sum + r), rescale, sum));
    _mm512_storeu_ps(s.largest + r, largest);
  }
}

L2A_AVX512 void dots_avx512(std::int64_t dim, std::int64_t count, const float* query,
                            const float* rows, std::int64_t stride, float* out) {
  constexpr int kRows = 4;
  std::int64_t i = 0;
  for (; i + kRows <= count; i += kRows, rows += kRows * stride) {
    __m512 total[kRows];
    for (__m512& sum : total) sum = _mm512_setzero_ps();
    std::int64_t d = 0;
    for (; d + 16 <= dim; d += 16) {
      const __m512 q = _mm512_loadu_ps(query + d);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        total[r] = _mm512_fmadd_ps(q, _mm512_loadu_ps(rows + r * stride + d), total[r]);
      }
    }
    if (d < dim) {
      const __mmask16 mask = x86::first_lanes(dim - d);
      const __m512 q = _mm512_maskz_loadu_ps(mask, query + d);
#pragma GCC unroll 4
      for (int r = 0; r < kRows; ++r) {
        const __m512 row = _mm512_maskz_loadu_ps(mask, rows + r * stride + d);
        total[r] = _mm512_fmadd_ps(q, row, total[r]);
      }
    }
    x86::store_sums(total, out + i);
  }
  dots_generic(dim, count - i, query, rows, stride, out + i);
}

// A panel of y stays in registers over all rows.
template <int kVectors>
L2A_AVX512 void weighted_panel_avx512(std::int64_t count, const float* weights, const float* rows,
                                      std::int64_t stride, float rescale, float* y) {
  __m512 total[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    total[v] = _mm512_mul_ps(_mm512_loadu_ps(y + 16 * v), _mm512_set1_ps(rescale));
  }
  for (std::int64_t i = 0; i < count; ++i) {
    const __m512 weight = _mm512_set1_ps(weights[i]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      total[v] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(rows + i * stride + 16 * v), total[v]);
    }
  }
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(y + 16 * v, total[v]);
}

L2A_AVX512 void weighted_sum_avx512(std::int64_t dim, std::int64_t count, const float* weights,
                                    const float* rows, std::int64_t stride, float rescale,
                                    float* y) {
  std::int64_t d = 0;
  for (; d + 128 <= dim; d += 128) {
    weighted_panel_avx512<8>(count, weights, rows + d, stride, rescale, y + d);
  }
  for (; d + 16 <= dim; d += 16) {
    weighted_panel_avx512<1>(count, weights, rows + d, stride, rescale, y + d);
  }
  weighted_sum_generic(dim - d, count, weights, rows + d, stride, rescale, y + d);
}

template <int kVectors>
L2A_AVX2 void product_avx2(const TileProduct& p) {
  constexpr std::int64_t kRows = 8 * kVectors;
  for (std::int64_t i = 0; i < p.outputs; i += kStep) {
    __m256 total[kStep][kVectors];
    for (auto& row : total) {
      for (__m256& sum : row) sum = _mm256_setzero_ps();
    }
    const float* a = p.a + i * p.a_step;
    const float* b = p.b;
    for (std::int64_t k = 0; k < p.terms; ++k, a += p.a_next, b += kRows) {
      __m256 row[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) row[v] = _mm256_loadu_ps(b + 8 * v);
#pragma GCC unroll 4
      for (int s = 0; s < kStep; ++s) {
        const __m256 one = _mm256_broadcast_ss(a + s * p.a_step);
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) total[s][v] = _mm256_fmadd_ps(one, row[v], total[s][v]);
      }
    }
#pragma GCC unroll 4
    for (int s = 0; s < kStep; ++s) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) {
        float* c = p.c + (i + s) * kRows + 8 * v;
        if (p.rescale != nullptr) {
          total[s][v] =
              _mm256_fmadd_ps(_mm256_loadu_ps(c), _mm256_loadu_ps(p.rescale + 8 * v), total[s][v]);
        }
        _mm256_storeu_ps(c, total[s][v]);
      }
    }
  }
}

L2A_AVX2 void softmax_avx2(std::int64_t rows, const TileSoftmax& s) {
  for (std::int64_t r = 0; r < rows; r += 8) {
    const __m256 before = _mm256_loadu_ps(s.largest + r);
    __m256 largest = before;
    if (s.all_visible) {
      for (std::int64_t j = 0; j < s.keys; ++j) {
        largest = _mm256_max_ps(_mm256_loadu_ps(s.scores + j * rows + r), largest);
      }
    } else {
      const __m256i sinks_end = x86::load256(s.sinks_end + r);
      const __m256i begin = x86::load256(s.begin + r), end = x86::load256(s.end + r);
      for (std::int64_t j = 0; j < s.keys; ++j) {
        const __m256i key = _mm256_set1_epi32(s.first + static_cast<std::int32_t>(j));
        const __m256i near =
            _mm256_andnot_si256(_mm256_cmpgt_epi32(begin, key), _mm256_cmpgt_epi32(end, key));
        const __m256i visible = _mm256_or_si256(_mm256_cmpgt_epi32(sinks_end, key), near);
        float* score = s.scores + j * rows + r;
        const __m256 seen = _mm256_blendv_ps(_mm256_set1_ps(kHidden), _mm256_loadu_ps(score),
                                             _mm256_castsi256_ps(visible));
        _mm256_storeu_ps(score, seen);
        largest = _mm256_max_ps(seen, largest);
      }
    }
    __m256 sum = _mm256_setzero_ps();
    for (std::int64_t j = 0; j < s.keys; ++j) {
      float* score = s.scores + j * rows + r;
      const __m256 p = x86::exp(_mm256_sub_ps(_mm256_loadu_ps(score), largest));
      _mm256_storeu_ps(score, p);
      sum = _mm256_add_ps(sum, p);
    }
    const __m256 rescale = x86::exp(_mm256_sub_ps(before, largest));
    _mm256_storeu_ps(s.rescale + r, rescale);
    _mm256_storeu_ps(s.sum + r, _mm256_fmadd_ps(_mm256_loadu_ps(s.sum + r), rescale, sum));
    _mm256_storeu_ps(s.largest + r, largest);
  }
}

// The sums of four vectors.
L2A_AVX2 __m128 sums_of(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 four = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
  return _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
}

L2A_AVX2 void dots_avx2(std::int64_t dim, std::int64_t count, const float* query, const float* rows,
                        std::int64_t stride, float* out) {
  constexpr int kRows = 4, kChains = 2;
  std::int64_t i = 0;
  const std::int64_t whole = dim / (8 * kChains) * (8 * kChains);
  for (; i + kRows <= count; i += kRows, rows += kRows * stride) {
    __m256 total[kChains][kRows];
    for (auto& chain : total) {
      for (__m256& sum : chain) sum = _mm256_setzero_ps();
    }
    for (std::int64_t d = 0; d < whole; d += 8 * kChains) {
#pragma GCC unroll 2
      for (int chain = 0; chain < kChains; ++chain) {
        const __m256 q = _mm256_loadu_ps(query + d + 8 * chain);
#pragma GCC unroll 4
        for (int r = 0; r < kRows; ++r) {
          const __m256 row = _mm256_loadu_ps(rows + r * stride + d + 8 * chain);
          total[chain][r] = _mm256_fmadd_ps(q, row, total[chain][r]);
        }
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) total[0][r] = _mm256_add_ps(total[0][r], total[1][r]);
    float rest[kRows];
    dots_generic(dim - whole, kRows, query + whole, rows + whole, stride, rest);
    _mm_storeu_ps(out + i, _mm_add_ps(_mm_loadu_ps(rest),
                                      sums_of(total[0][0], total[0][1], total[0][2], total[0][3])));
  }
  dots_generic(dim, count - i, query, rows, stride, out + i);
}

L2A_AVX2 void weighted_sum_avx2(std::int64_t dim, std::int64_t count, const float* weights,
                                const float* rows, std::int64_t stride, float rescale, float* y) {
  constexpr int kVectors = 8;
  std::int64_t d = 0;
  for (; d + 8 * kVectors <= dim; d += 8 * kVectors) {
    __m256 total[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      total[v] = _mm256_mul_ps(_mm256_loadu_ps(y + d + 8 * v), _mm256_set1_ps(rescale));
    }
    for (std::int64_t i = 0; i < count; ++i) {
      const __m256 weight = _mm256_set1_ps(weights[i]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        const __m256 value = _mm256_loadu_ps(rows + i * stride + d + 8 * v);
        total[v] = _mm256_fmadd_ps(weight, value, total[v]);
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) _mm256_storeu_ps(y + d + 8 * v, total[v]);
  }
  weighted_sum_generic(dim - d, count, weights, rows + d, stride, rescale, y + d);
}

#endif

}  // namespace

AttentionKernels attention_kernels([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level >= SimdLevel::avx512) {
    return {16,
            64,
            {product_avx512<1>, product_avx512<2>, product_avx512<3>, product_avx512<4>},
            softmax_avx512,
            dots_avx512,
            weighted_sum_avx512};
  }
  // Three vectors: with twelve sums, all sixteen registers are in use.
  if (level == SimdLevel::avx2) {
    return {8,
            24,
            {product_avx2<1>, product_avx2<2>, product_avx2<3>, nullptr},
            softmax_avx2,
            dots_avx2,
            weighted_sum_avx2};
  }
#endif
  return {kGenericLanes,   kGenericLanes, {product_generic},
          softmax_generic, dots_generic,  weighted_sum_generic};
}

}  // namespace l2a
