// How rows of quantized weights are unpacked into panels (integer_panel.h, tile_panel.h), by the
// Formats of the dot products.
#pragma once

#include "backends/cpu/dot/k_affine.h"
#include "backends/cpu/panel/integer_panel.h"
#include "backends/cpu/panel/tile_panel.h"

namespace l2a {

template <class Format>
struct Blocks32Source;
template <class Format>
struct KAffineSource;

#if defined(__x86_64__)

// Types with 32 values a block (blocks32.h).
template <class Format>
struct Blocks32Source {
  using Block = typename Format::Block;
  static constexpr int kStep = 32;
  static constexpr bool kMins = requires(Block b) { b.m; };

  L2A_AVX512 static __m512i quants(const std::byte* row, std::int64_t i, bool half) {
    const Block* b = reinterpret_cast<const Block*>(row) + 2 * i;
    const __m512i q =
        half ? _mm512_zextsi256_si512(Format::quants(b[0])) : Format::quants(b[0], b[1]);
    return _mm512_sub_epi8(q, _mm512_set1_epi8(Format::kOffset));
  }
  template <class Step>
  L2A_AVX512 static std::int64_t scales(const std::byte* row, std::int64_t s, Step* step,
                                        int lane) {
    const Block& b = reinterpret_cast<const Block*>(row)[s];
    step->scale[lane] = x86::to_float(b.d);
    if constexpr (kMins) step->min[lane] = x86::to_float(b.m);
    return 1;
  }
};

// q4_k and q5_k (k_affine.h).
template <class Format>
struct KAffineSource {
  using Block = typename Format::Block;
  static constexpr int kStep = 32;
  static constexpr bool kMins = true;

  L2A_AVX512 static __m512i quants(const std::byte* row, std::int64_t i, bool /*half*/) {
    return Format::quant_pair(reinterpret_cast<const Block*>(row)[i / 4], static_cast<int>(i % 4));
  }
  template <class Step>
  L2A_AVX512 static std::int64_t scales(const std::byte* row, std::int64_t s, Step* step,
                                        int lane) {
    const Block& b = reinterpret_cast<const Block*>(row)[s / 8];
    const SubBlockScales sub = unpack_scales(b.scales);
    const float d = x86::to_float(b.d), dmin = x86::to_float(b.dmin);
    for (int i = 0; i < 8; ++i) {
      step[i].scale[lane] = d * static_cast<float>(sub.scale[i]);
      step[i].min[lane] = -dmin * static_cast<float>(sub.min[i]);
    }
    return 8;
  }
};

#endif

// The panels of a quantized type. With AVX2 there are none: its products of bytes take four
// instructions, and neither tiles of those nor of f32 beat the dot products of four tokens.
template <class Source>
PanelKernel quantized_panel([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level == SimdLevel::amx) return tile_panel<Source>();
  if (level == SimdLevel::avx512) return integer_panel<Source>();
#endif
  return {};
}

}  // namespace l2a
