#include "backends/cpu/panel/float_panel.h"

#if defined(__x86_64__)

namespace l2a {
namespace {

// Twelve vectors of sums of the sixteen registers.
constexpr int kTokensAvx2 = 6;

template <int kTokens>
L2A_AVX2 void tile_avx2(std::int64_t k, const FloatPanelPlace<8>* places, const PanelTokens& x,
                        std::int64_t token, const PanelOutput& out) {
  const float* values[kTokens];
  alignas(32) float partial[kTokens][16] = {};
  __m256 total[kTokens][2];
  const bool whole = out.rows == 16;
  for (int t = 0; t < kTokens; ++t) {
    values[t] = reinterpret_cast<const float*>(x.data + (token + t) * x.stride) + x.first;
    const float* y = out.data + (token + t) * out.stride;
    if (out.add && !whole) std::copy_n(y, out.rows, partial[t]);
    for (int v = 0; v < 2; ++v) {
      total[t][v] = _mm256_loadu_ps(out.add && whole ? y + 8 * v : partial[t] + 8 * v);
    }
  }
  for (std::int64_t i = 0; i < k; ++i) {
    const __m256 w[2] = {_mm256_loadu_ps(places[i]), _mm256_loadu_ps(places[i] + 8)};
    for (int t = 0; t < kTokens; ++t) {
      const __m256 value = _mm256_broadcast_ss(values[t] + i);
      for (int v = 0; v < 2; ++v) total[t][v] = _mm256_fmadd_ps(value, w[v], total[t][v]);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    float* y = out.data + (token + t) * out.stride;
    for (int v = 0; v < 2; ++v)
      _mm256_storeu_ps(whole ? y + 8 * v : partial[t] + 8 * v, total[t][v]);
    if (!whole) std::copy_n(partial[t], out.rows, y);
  }
}

// Twenty-four vectors of sums of the thirty-two registers.
constexpr int kTokensAvx512 = 12;

template <int kTokens>
L2A_AVX512 void tile_avx512(std::int64_t k, const FloatPanelPlace<16>* places, const PanelTokens& x,
                            std::int64_t token, const PanelOutput& out) {
  const float* values[kTokens];
  __m512 total[kTokens][2];
  const __mmask16 masks[2] = {x86::first_lanes(out.rows),
                              x86::first_lanes(out.rows > 16 ? out.rows - 16 : 0)};
  for (int t = 0; t < kTokens; ++t) {
    values[t] = reinterpret_cast<const float*>(x.data + (token + t) * x.stride) + x.first;
    for (int v = 0; v < 2; ++v) {
      const float* y = out.data + (token + t) * out.stride + 16 * v;
      total[t][v] = out.add ? _mm512_maskz_loadu_ps(masks[v], y) : _mm512_setzero_ps();
    }
  }
  for (std::int64_t i = 0; i < k; ++i) {
    const __m512 w[2] = {_mm512_load_ps(places[i]), _mm512_load_ps(places[i] + 16)};
    for (int t = 0; t < kTokens; ++t) {
      const __m512 value = _mm512_set1_ps(values[t][i]);
      for (int v = 0; v < 2; ++v) total[t][v] = _mm512_fmadd_ps(value, w[v], total[t][v]);
    }
  }
  for (int t = 0; t < kTokens; ++t) {
    for (int v = 0; v < 2; ++v) {
      _mm512_mask_storeu_ps(out.data + (token + t) * out.stride + 16 * v, masks[v], total[t][v]);
    }
  }
}

}  // namespace

void multiply_float_panel_avx2(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                               const PanelOutput& out) {
  const auto* places = reinterpret_cast<const FloatPanelPlace<8>*>(panel);
  for_token_tiles<kTokensAvx2>(x.count, [&]<int kTokens>(std::int64_t token) {
    tile_avx2<kTokens>(k, places, x, token, out);
  });
}

void multiply_float_panel_avx512(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                                 const PanelOutput& out) {
  const auto* places = reinterpret_cast<const FloatPanelPlace<16>*>(panel);
  for_token_tiles<kTokensAvx512>(x.count, [&]<int kTokens>(std::int64_t token) {
    tile_avx512<kTokens>(k, places, x, token, out);
  });
}

}  // namespace l2a

#endif
