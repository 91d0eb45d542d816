// Panels of quantized weights for VNNI: 32 rows of signed bytes, four places of a row beside each
// other, in steps of the weight type's (sub-)block.
//
// vpdpbusd multiplies unsigned with signed bytes. The weights are the signed side, so the
// activations carry 128 too much, and sums start at what takes it away again: -128 Σq, known when
// the panel is packed. A step of 32 places then costs eight products, a conversion, and two or
// three multiplications for each vector of sums.
//
// A Source tells how to unpack rows of a type:
//     kStep                        places under one scale: 16 or 32
//     kMins                        whether there are minimums
//     quants(row, i, half)         bytes of the 64 places from 64 i on; `half`: 32, then zeros
//     scales(row, s, step, lane)   writes a block's scales and minimums, from step s on; returns of
//                                  how many steps
#pragma once

#include "backends/cpu/panel/panel.h"
#include "backends/cpu/panel/transpose.h"
#include "graph/simd_level.h"

namespace l2a {

inline constexpr int kIntegerPanelRows = 32;
inline constexpr std::int64_t kIntegerPanelDepth = 4096;

template <int kPlaces>
struct alignas(64) IntegerPanelStep {
  std::int32_t start[kIntegerPanelRows];
  float scale[kIntegerPanelRows];
  float min[kIntegerPanelRows];  // times the activations' sum; read only where there are any
  std::int8_t q[kPlaces / 4][kIntegerPanelRows][4];
};

#if defined(__x86_64__)

// The products of panels whose steps are `kPlaces` long.
template <int kPlaces, bool kMins>
void multiply_integer_panel(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                            const PanelOutput& out);

// Sixteen rows, from `first` on, of one panel.
template <class Source>
L2A_AVX512 void pack_sixteen_rows(const PanelRows& weights, int first, std::int64_t k,
                                  IntegerPanelStep<Source::kStep>* steps) {
  constexpr int kGroups = Source::kStep / 4;
  const __m512i ones = _mm512_set1_epi8(1);
  const std::byte* rows[16];
  for (int r = 0; r < 16; ++r) rows[r] = weights.row(first + r);
  for (std::int64_t at = 0; at < k; at += 64) {
    const bool half = k - at < 64;
    __m512i q[16];
#pragma GCC unroll 16
    for (int r = 0; r < 16; ++r) q[r] = Source::quants(rows[r], at / 64, half);
    x86::transpose(q);
#pragma GCC unroll 4
    for (int g = 0; g < 16; g += kGroups) {
      if (half && g >= 8) break;
      auto& step = steps[(at + 4 * g) / Source::kStep];
      __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 8
      for (int i = 0; i < kGroups; ++i) {
        sum = _mm512_dpbusd_epi32(sum, ones, q[g + i]);
        _mm512_store_si512(step.q[i][first], q[g + i]);
      }
      // -128 times the sum.
      _mm512_store_si512(step.start + first,
                         _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sum, 7)));
    }
  }
  // Rows within steps: a step's scales share their cache lines.
  for (std::int64_t s = 0, count = 0; s < k / Source::kStep; s += count) {
    for (int r = 0; r < 16; ++r) count = Source::scales(rows[r], s, steps + s, first + r);
  }
}

template <class Source>
void pack_integer_panel(const PanelRows& weights, std::int64_t k, std::byte* panel) {
  auto* steps = reinterpret_cast<IntegerPanelStep<Source::kStep>*>(panel);
  pack_sixteen_rows<Source>(weights, 0, k, steps);
  pack_sixteen_rows<Source>(weights, 16, k, steps);
}

template <class Source>
PanelKernel integer_panel() {
  using Step = IntegerPanelStep<Source::kStep>;
  return {.rows = kIntegerPanelRows,
          .depth = kIntegerPanelDepth,
          .tokens = kAnyTokens,
          .bytes = sizeof(Step) * (kIntegerPanelDepth / Source::kStep),
          .activations = PanelActivations::biased_bytes,
          .pack = pack_integer_panel<Source>,
          .multiply = multiply_integer_panel<Source::kStep, Source::kMins>};
}

#endif

}  // namespace l2a
