// Rows of a cache against the query heads that share them, with AVX-512: decoding. A row is widened in registers and
// meets up to four heads before the next, so that nothing is written but the results. (By way of rows in f32, which
// heads read one after another, a thread took three times as long as memory did.)
//
// A Load gives sixteen values of a row as f32:
//     at(row, i)    values [i, i + 16)
#pragma once

#include <algorithm>

#include "backends/cpu/simd.h"
#include "backends/cpu/x86.h"

namespace l2a {

#if defined(__x86_64__)

template <class Load, int kHeads, int kRows>
L2A_AVX512 void group_dots_tile(const GroupRows& g, std::int64_t first, const float* queries,
                                std::int64_t query_stride, float* out, std::int64_t out_stride) {
  __m512 total[kHeads][kRows];
  for (auto& head : total) {
    for (__m512& sum : head) sum = _mm512_setzero_ps();
  }
  for (std::int64_t d = 0; d < g.dim; d += 16) {
    __m512 q[kHeads];
#pragma GCC unroll 4
    for (int h = 0; h < kHeads; ++h) q[h] = _mm512_loadu_ps(queries + h * query_stride + d);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const __m512 row = Load::at(g.rows[first + r] + g.offset, d);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) total[h][r] = _mm512_fmadd_ps(q[h], row, total[h][r]);
    }
  }
  for (int h = 0; h < kHeads; ++h) x86::store_sums(total[h], out + h * out_stride + first);
}

template <class Load, int kHeads>
void group_dots_of(const GroupRows& g, const float* queries, std::int64_t query_stride, float* out,
                   std::int64_t out_stride) {
  std::int64_t i = 0;
  for (; i + 4 <= g.count; i += 4)
    group_dots_tile<Load, kHeads, 4>(g, i, queries, query_stride, out, out_stride);
  for (; i < g.count; ++i)
    group_dots_tile<Load, kHeads, 1>(g, i, queries, query_stride, out, out_stride);
}

// Calls f<n>(head) for n of 4, 2 and 1 until all heads had their turn.
template <class F>
void for_heads(std::int64_t heads, F f) {
  std::int64_t h = 0;
  for (; h + 4 <= heads; h += 4) f.template operator()<4>(h);
  for (; h + 2 <= heads; h += 2) f.template operator()<2>(h);
  for (; h < heads; ++h) f.template operator()<1>(h);
}

template <class Load>
void group_dots(const GroupRows& g, const float* queries, std::int64_t query_stride, float* out,
                std::int64_t out_stride) {
  for_heads(g.heads, [&]<int kHeads>(std::int64_t h) {
    group_dots_of<Load, kHeads>(g, queries + h * query_stride, query_stride, out + h * out_stride,
                                out_stride);
  });
}

template <class Load, int kHeads, int kVectors>
L2A_AVX512 void group_sums_panel(const GroupRows& g, std::int64_t d, const float* weights,
                                 std::int64_t weight_stride, const float* rescale, float* y) {
  __m512 total[kHeads][kVectors];
  for (int h = 0; h < kHeads; ++h) {
    const __m512 factor = _mm512_set1_ps(rescale[h]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      total[h][v] = _mm512_mul_ps(_mm512_loadu_ps(y + h * g.dim + d + 16 * v), factor);
  }
  for (std::int64_t i = 0; i < g.count; ++i) {
    __m512 weight[kHeads];
    for (int h = 0; h < kHeads; ++h) weight[h] = _mm512_set1_ps(weights[h * weight_stride + i]);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const __m512 row = Load::at(g.rows[i] + g.offset, d + 16 * v);
#pragma GCC unroll 4
      for (int h = 0; h < kHeads; ++h) total[h][v] = _mm512_fmadd_ps(weight[h], row, total[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) _mm512_storeu_ps(y + h * g.dim + d + 16 * v, total[h][v]);
  }
}

template <class Load>
void group_sums(const GroupRows& g, const float* weights, std::int64_t weight_stride,
                const float* rescale, float* y) {
  for_heads(g.heads, [&]<int kHeads>(std::int64_t h) {
    constexpr int kVectors = std::min(16 / kHeads, 8);  // half of the registers hold sums
    const auto panel = [&]<int kCount>(std::int64_t d) {
      group_sums_panel<Load, kHeads, kCount>(g, d, weights + h * weight_stride, weight_stride,
                                             rescale + h, y + h * g.dim);
    };
    std::int64_t d = 0;
    for (; d + 16 * kVectors <= g.dim; d += 16 * kVectors) panel.template operator()<kVectors>(d);
    for (; d < g.dim; d += 16) panel.template operator()<1>(d);
  });
}

#endif

}  // namespace l2a
