// f16 rows against f32 vectors; see float_row.h.
#include "backends/cpu/dot/float_row.h"
#include "backends/cpu/panel/float_panel.h"

namespace l2a {
namespace {

struct Format {
  static constexpr std::int64_t kBytes = 2;
  static float load(const std::byte* p) {
    std::uint16_t bits;
    std::memcpy(&bits, p, 2);
    return f16_to_float(bits);
  }
  static void store(float value, std::byte* p) {
    const std::uint16_t bits = float_to_f16(value);
    std::memcpy(p, &bits, 2);
  }
#if defined(__x86_64__)
  L2A_AVX2 static __m256 load8(const std::byte* p) { return _mm256_cvtph_ps(x86::load128(p)); }
  L2A_AVX2 static void store8(__m256 v, std::byte* p) {
    const __m128i halves = _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), halves);
  }
  // Lanes outside the mask are zero and their memory is not touched.
  L2A_AVX512 static __m512 load16(__mmask16 mask, const std::byte* p) {
    return _mm512_maskz_cvtph_ps(mask, _mm256_maskz_loadu_epi16(mask, p));
  }
#elif defined(__aarch64__)
  static float32x4_t load4(const std::byte* p) {
    return vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8(reinterpret_cast<const std::uint8_t*>(p))));
  }
  static void store4(float32x4_t v, std::byte* p) {
    vst1_u8(reinterpret_cast<std::uint8_t*>(p), vreinterpret_u8_f16(vcvt_f16_f32(v)));
  }
#endif
};

}  // namespace

FloatRow f16_row(SimdLevel level) { return float_row<Format>(level); }
PanelKernel f16_panel(SimdLevel level) { return float_panel<Format>(level); }

}  // namespace l2a
