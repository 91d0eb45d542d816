// Panels of f32 values, for weights of the float types, which meet f32 activations: 32 rows at each
// place, one multiply-add for sixteen of them.
//
// f32, though the processor multiplies bf16 twice as fast: activations rounded to bf16 would cost
// three digits, and split into two bf16 they would take as long as f32.
#pragma once

#include <algorithm>

#include "backends/cpu/panel/panel.h"
#include "backends/cpu/panel/transpose.h"
#include "graph/simd_level.h"

namespace l2a {

#if defined(__x86_64__)

inline constexpr std::int64_t kFloatPanelDepth = 1024;
using FloatPanelPlace = float[32];

void multiply_float_panel(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                          const PanelOutput& out);

// `Format`: float_row.h.
template <class Format>
L2A_AVX512 void pack_float_panel(const PanelRows& weights, std::int64_t k, std::byte* panel) {
  auto* places = reinterpret_cast<FloatPanelPlace*>(panel);
  for (int first = 0; first < 32; first += 16) {
    for (std::int64_t at = 0; at < k; at += 16) {
      const __mmask16 mask = x86::first_lanes(k - at);
      __m512i values[16];
      for (int r = 0; r < 16; ++r) {
        const std::byte* from = weights.row(first + r) + at * Format::kBytes;
        values[r] = _mm512_castps_si512(Format::load16(mask, from));
      }
      x86::transpose(values);
      const std::int64_t count = std::min<std::int64_t>(k - at, 16);
      for (std::int64_t i = 0; i < count; ++i) {
        _mm512_store_si512(places[at + i] + first, values[i]);
      }
    }
  }
}

#endif

template <class Format>
PanelKernel float_panel([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level >= SimdLevel::avx512) {
    return {.rows = 32,
            .depth = kFloatPanelDepth,
            .tokens = kAnyTokens,
            .bytes = sizeof(FloatPanelPlace) * kFloatPanelDepth,
            .activations = PanelActivations::f32,
            .pack = pack_float_panel<Format>,
            .multiply = multiply_float_panel};
  }
#endif
  return {};
}

}  // namespace l2a
