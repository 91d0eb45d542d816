#include "backends/cpu/panel/integer_panel.h"

#include "backends/cpu/activation.h"

#if defined(__x86_64__)

namespace l2a {
namespace {

// Six tokens' sums of 32 rows, as integers and as floats, are 24 of the 32 vector registers.
constexpr int kTileTokens = 6;

template <int kPlaces, bool kMins, int kTokens>
L2A_AVX512 void tile(std::int64_t k, const IntegerPanelStep<kPlaces>* steps, const PanelTokens& x,
                     std::int64_t token, const PanelOutput& out) {
  const std::uint8_t* q[kTokens];
  const float* scale[kTokens];
  const float* sum[kTokens];
  __m512 total[kTokens][2];
  const __mmask16 masks[2] = {x86::first_lanes(out.rows),
                              x86::first_lanes(out.rows > 16 ? out.rows - 16 : 0)};
  for (int t = 0; t < kTokens; ++t) {
    auto* row = const_cast<std::byte*>(x.data) + (token + t) * x.stride;
    const ActivationRow view = activation_row(row, x.inner).from(x.first / 32);
    q[t] = reinterpret_cast<const std::uint8_t*>(view.q);
    scale[t] = view.scale;
    sum[t] = view.sum;
    total[t][0] = total[t][1] = _mm512_setzero_ps();
  }
  for (std::int64_t s = 0; s < k / kPlaces; ++s) {
    const IntegerPanelStep<kPlaces>& step = steps[s];
    const std::int64_t block = s * kPlaces / 32;
    __m512i products[kTokens][2];
    for (int t = 0; t < kTokens; ++t) {
      for (int v = 0; v < 2; ++v) products[t][v] = _mm512_load_si512(step.start + 16 * v);
    }
#pragma GCC unroll 8
    for (int g = 0; g < kPlaces / 4; ++g) {
      const __m512i w[2] = {_mm512_load_si512(step.q[g]), _mm512_load_si512(step.q[g][16])};
      for (int t = 0; t < kTokens; ++t) {
        const __m512i four =
            _mm512_set1_epi32(static_cast<int>(x86::load_u32(q[t] + s * kPlaces + 4 * g)));
        for (int v = 0; v < 2; ++v) {
          products[t][v] = _mm512_dpbusd_epi32(products[t][v], four, w[v]);
        }
      }
    }
    for (int v = 0; v < 2; ++v) {
      const __m512 d = _mm512_load_ps(step.scale + 16 * v);
      for (int t = 0; t < kTokens; ++t) {
        const __m512 both = _mm512_mul_ps(d, _mm512_set1_ps(scale[t][block]));
        total[t][v] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products[t][v]), both, total[t][v]);
      }
      if constexpr (kMins) {
        const __m512 m = _mm512_load_ps(step.min + 16 * v);
        for (int t = 0; t < kTokens; ++t) {
          total[t][v] = _mm512_fmadd_ps(m, _mm512_set1_ps(sum[t][block]), total[t][v]);
        }
      }
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

template <int kPlaces, bool kMins>
void multiply_integer_panel(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                            const PanelOutput& out) {
  const auto* steps = reinterpret_cast<const IntegerPanelStep<kPlaces>*>(panel);
  for_token_tiles<kTileTokens>(x.count, [&]<int kTokens>(std::int64_t token) {
    tile<kPlaces, kMins, kTokens>(k, steps, x, token, out);
  });
}

template void multiply_integer_panel<32, false>(std::int64_t, const std::byte*, const PanelTokens&,
                                                const PanelOutput&);
template void multiply_integer_panel<32, true>(std::int64_t, const std::byte*, const PanelTokens&,
                                               const PanelOutput&);
template void multiply_integer_panel<16, false>(std::int64_t, const std::byte*, const PanelTokens&,
                                                const PanelOutput&);

}  // namespace l2a

#endif
