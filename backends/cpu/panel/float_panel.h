// Panels of f32 values, for weights that meet f32 activations: those of the float types, and with
// AVX2 the quantized ones too. One multiply-add for sixteen (or eight) rows at each place.
//
// f32, though the processor multiplies bf16 twice as fast: activations rounded to bf16 would cost
// three digits, and split into two bf16 they would take as long as f32.
#pragma once

#include <algorithm>

#include "backends/cpu/panel/panel.h"
#include "backends/cpu/panel/transpose.h"
#include "graph/simd_level.h"
#include "ops/dequantize.h"

namespace l2a {

inline constexpr std::int64_t kFloatPanelDepth = 1024;

#if defined(__x86_64__)

// Two vectors a place.
template <int kLanes>
using FloatPanelPlace = float[2 * kLanes];

void multiply_float_panel_avx2(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                               const PanelOutput& out);
void multiply_float_panel_avx512(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                                 const PanelOutput& out);

template <Dtype kDtype>
void pack_float_panel_avx2(const PanelRows& weights, std::int64_t k, std::byte* panel) {
  constexpr std::int64_t kPiece = 256;  // a whole number of any type's blocks
  constexpr int kRows = 16;
  auto* places = reinterpret_cast<FloatPanelPlace<8>*>(panel);
  float values[kRows][kPiece];
  for (std::int64_t at = 0; at < k; at += kPiece) {
    const std::int64_t count = std::min(kPiece, k - at);
    const std::size_t skipped = dtype_bytes(kDtype, at), bytes = dtype_bytes(kDtype, count);
    for (int r = 0; r < kRows; ++r) {
      dequantize_row(kDtype, {weights.row(r) + skipped, bytes},
                     {values[r], static_cast<std::size_t>(count)});
    }
    for (std::int64_t i = 0; i < count; ++i) {
      for (int r = 0; r < kRows; ++r) places[at + i][r] = values[r][i];
    }
  }
}

template <class Format>
L2A_AVX512 void pack_float_panel_avx512(const PanelRows& weights, std::int64_t k,
                                        std::byte* panel) {
  auto* places = reinterpret_cast<FloatPanelPlace<16>*>(panel);
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

template <Dtype kDtype>
PanelKernel float_panel_avx2() {
  return {16,
          kFloatPanelDepth,
          sizeof(FloatPanelPlace<8>) * kFloatPanelDepth,
          false,
          pack_float_panel_avx2<kDtype>,
          multiply_float_panel_avx2};
}

#endif

// Of a float type.
template <Dtype kDtype, class Format>
PanelKernel float_panel([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level == SimdLevel::avx512) {
    return {32,
            kFloatPanelDepth,
            sizeof(FloatPanelPlace<16>) * kFloatPanelDepth,
            false,
            pack_float_panel_avx512<Format>,
            multiply_float_panel_avx512};
  }
  if (level == SimdLevel::avx2) return float_panel_avx2<kDtype>();
#endif
  return {};
}

}  // namespace l2a
