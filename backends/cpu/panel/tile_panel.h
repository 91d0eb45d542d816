// Panels of quantized weights for AMX: 32 rows as bf16, two tiles at each 32 places of a row.
//
// Weights are widened, scaled and rounded to bf16, and so are the activations, whose rounding (2^-9 of a value) is less
// than that of the bytes which the other levels make of them. Tiles of bytes would multiply twice as fast, but a tile
// sums 64 places and a scale spans 32 or 16: half of each tile would be idle, and after each one its 256 sums would have
// to be stored, converted and scaled, which takes longer than the product.
//
// Two tiles of tokens by two of weights: four loads for four products, and sums stay in tiles. The panel (64 KiB) and
// the activations (1 MiB at most) come from the second-level cache, which feeds the products at two thirds of their peak.
//
// The 64 bytes that a Source (integer_panel.h) gives of each row become pairs of bf16 without sorting single values:
// eight places of a row are one qword, so eight rows are transposed by qwords; a product with the bytes 1, 0, 0, 0 then
// takes one place of each dword out, sign and all; and two vectors of eight rows round to one row of a tile.
#pragma once

#include "backends/cpu/panel/panel.h"
#include "backends/cpu/tiles.h"
#include "graph/simd_level.h"

namespace l2a {

// Of rows of k values, as tiles of sixteen rows and 32 places of bf16. What the last ones lack of rows is multiplied
// too, and not stored.
constexpr std::size_t tile_activation_bytes(std::int64_t tokens, std::int64_t k) {
  return static_cast<std::size_t>((tokens + 15) / 16 * ((k + 31) / 32)) * 1024;
}

// Tokens from which tiles are faster than AVX-512's panels: as fast at 16, 1.4 times at 64.
inline constexpr std::int64_t kTilePanelFrom = 24;

#if defined(__x86_64__)

inline constexpr std::int64_t kTilePanelDepth = 1024;
inline constexpr std::int64_t kTilePanelTokens = 512;  // 1 MiB of bf16 at that depth

// A block's scales and minimums of 32 rows; the minimums are read only where there are any.
struct alignas(64) TilePanelStep {
  float scale[32];
  float min[32];
};

void store_tile_activation(std::int64_t k, const float* x, std::int64_t token, std::byte* to);
void multiply_tile_panel(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                         const PanelOutput& out);

namespace x86 {

// Eight vectors of eight qwords, rows for columns.
L2A_AVX512 inline void transpose_qwords(const __m512i (&r)[8], __m512i (&out)[8]) {
  __m512i t[8], u[8];
#pragma GCC unroll 4
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm512_unpacklo_epi64(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi64(r[i], r[i + 1]);
  }
#pragma GCC unroll 2
  for (int odd = 0; odd < 2; ++odd) {
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
      u[i + odd] = _mm512_shuffle_i64x2(t[i + odd], t[i + 2 + odd], 0x88);
      u[i + 2 + odd] = _mm512_shuffle_i64x2(t[i + odd], t[i + 2 + odd], 0xdd);
    }
    out[odd] = _mm512_shuffle_i64x2(u[odd], u[4 + odd], 0x88);
    out[2 + odd] = _mm512_shuffle_i64x2(u[2 + odd], u[6 + odd], 0x88);
    out[4 + odd] = _mm512_shuffle_i64x2(u[odd], u[4 + odd], 0xdd);
    out[6 + odd] = _mm512_shuffle_i64x2(u[2 + odd], u[6 + odd], 0xdd);
  }
}

// Eight floats, each twice.
L2A_AVX512 inline __m512 twice_each(const float* x) {
  const __m512i lanes = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
  return _mm512_permutexvar_ps(lanes, _mm512_castps256_ps512(_mm256_load_ps(x)));
}

}  // namespace x86

// Sixteen rows, from `first` on, of one panel.
template <class Source>
L2A_AMX void pack_sixteen_tile_rows(const PanelRows& weights, int first, std::int64_t k,
                                    std::byte* panel) {
  TilePanelStep steps[kTilePanelDepth / Source::kStep];
  const std::byte* rows[16];
  for (int r = 0; r < 16; ++r) rows[r] = weights.row(first + r);
  for (std::int64_t s = 0, count = 0; s < k / Source::kStep; s += count) {
    for (int r = 0; r < 16; ++r) count = Source::scales(rows[r], s, steps + s, r);
  }
  // Bytes 0, 2, 4, 6 of a qword into its first dword: then pairs are of neighbours.
  const __m512i even_first =
      _mm512_broadcast_i32x4(_mm_setr_epi8(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15));
  for (std::int64_t at = 0; at < k; at += 64) {
    const bool half = k - at < 64;
    __m512i places[2][8];
#pragma GCC unroll 2
    for (int eight = 0; eight < 2; ++eight) {
      __m512i q[8];
#pragma GCC unroll 8
      for (int r = 0; r < 8; ++r) {
        q[r] = _mm512_shuffle_epi8(Source::quants(rows[8 * eight + r], at / 64, half), even_first);
      }
      x86::transpose_qwords(q, places[eight]);
    }
    std::byte* tile =
        panel + at / x86::kTileDepth * 2 * x86::kTileBytes + first / 16 * x86::kTileBytes;
#pragma GCC unroll 8
    for (int c = 0; c < 8; ++c) {
      if (half && c == 4) break;
      const TilePanelStep& step = steps[(at + 8 * c) / Source::kStep];
      const __m512 scale[2] = {x86::twice_each(step.scale), x86::twice_each(step.scale + 8)};
      __m512 min[2];
      if constexpr (Source::kMins) {
        min[0] = x86::twice_each(step.min);
        min[1] = x86::twice_each(step.min + 8);
      }
      std::byte* to = tile + c / 4 * 2 * x86::kTileBytes + c % 4 * 4 * x86::kTileRowBytes;
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const __m512i take = _mm512_set1_epi32(1 << (8 * j));
        __m512 values[2];
        for (int eight = 0; eight < 2; ++eight) {
          const __m512i one = _mm512_dpbusd_epi32(_mm512_setzero_si512(), take, places[eight][c]);
          values[eight] = _mm512_cvtepi32_ps(one);
          if constexpr (Source::kMins) {
            values[eight] = _mm512_fmadd_ps(values[eight], scale[eight], min[eight]);
          } else {
            values[eight] = _mm512_mul_ps(values[eight], scale[eight]);
          }
        }
        _mm512_store_si512(to + j * x86::kTileRowBytes, x86::to_bf16(values[0], values[1]));
      }
    }
  }
}

template <class Source>
void pack_tile_panel(const PanelRows& weights, std::int64_t k, std::byte* panel) {
  pack_sixteen_tile_rows<Source>(weights, 0, k, panel);
  pack_sixteen_tile_rows<Source>(weights, 16, k, panel);
}

template <class Source>
PanelKernel tile_panel() {
  return {.rows = 32,
          .depth = kTilePanelDepth,
          .tokens = kTilePanelTokens,
          .bytes = static_cast<std::size_t>(kTilePanelDepth) * 32 * 2,
          .activations = PanelActivations::bf16_tiles,
          .pack = pack_tile_panel<Source>,
          .multiply = multiply_tile_panel};
}

#endif

}  // namespace l2a
