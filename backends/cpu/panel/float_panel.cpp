#include "backends/cpu/panel/float_panel.h"

#if defined(__x86_64__)

namespace l2a {
namespace {

// Twenty-four vectors of sums of the thirty-two registers.
constexpr int kTileTokens = 12;

template <int kTokens>
L2A_AVX512 void tile(std::int64_t k, const FloatPanelPlace* places, const PanelTokens& x,
                     std::int64_t token, const PanelOutput& out) {
  const float* values[kTokens];
  __m512 total[kTokens][2];
  const __mmask16 masks[2] = {x86::first_lanes(out.rows),
                              x86::first_lanes(out.rows > 16 ? out.rows - 16 : 0)};
  for (int t = 0; t < kTokens; ++t) {
    values[t] = reinterpret_cast<const float*>(x.data + (token + t) * x.stride) + x.first;
    total[t][0] = total[t][1] = _mm512_setzero_ps();
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
      float* y = out.data + (token + t) * out.stride + 16 * v;
      if (out.add) total[t][v] = _mm512_add_ps(total[t][v], _mm512_maskz_loadu_ps(masks[v], y));
      _mm512_mask_storeu_ps(y, masks[v], total[t][v]);
    }
  }
}

}  // namespace

void multiply_float_panel(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                          const PanelOutput& out) {
  const auto* places = reinterpret_cast<const FloatPanelPlace*>(panel);
  for_token_tiles<kTileTokens>(
      x.count, [&]<int kTokens>(std::int64_t token) { tile<kTokens>(k, places, x, token, out); });
}

}  // namespace l2a

#endif
