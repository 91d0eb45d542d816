// f32 rows against f32 vectors; see float_row.h.
#include "backends/cpu/dot/float_row.h"
#include "backends/cpu/panel/float_panel.h"

namespace l2a {
namespace {

struct Format {
  static constexpr std::int64_t kBytes = 4;
  static float load(const std::byte* p) {
    float value;
    std::memcpy(&value, p, 4);
    return value;
  }
  static void store(float value, std::byte* p) { std::memcpy(p, &value, 4); }
#if defined(__x86_64__)
  L2A_AVX2 static __m256 load8(const std::byte* p) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(p));
  }
  L2A_AVX2 static void store8(__m256 v, std::byte* p) {
    _mm256_storeu_ps(reinterpret_cast<float*>(p), v);
  }
  // Lanes outside the mask are zero and their memory is not touched.
  L2A_AVX512 static __m512 load16(__mmask16 mask, const std::byte* p) {
    return _mm512_maskz_loadu_ps(mask, p);
  }
#elif defined(__aarch64__)
  static float32x4_t load4(const std::byte* p) {
    return vreinterpretq_f32_u8(vld1q_u8(reinterpret_cast<const std::uint8_t*>(p)));
  }
  static void store4(float32x4_t v, std::byte* p) {
    vst1q_u8(reinterpret_cast<std::uint8_t*>(p), vreinterpretq_u8_f32(v));
  }
#endif
};

}  // namespace

FloatRow f32_row(SimdLevel level) { return float_row<Format>(level); }
PanelKernel f32_panel(SimdLevel level) { return float_panel<Format>(level); }

}  // namespace l2a
