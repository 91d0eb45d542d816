// bf16 rows against f32 vectors; see float_row.h.
#include "backends/cpu/dot/float_row.h"
#include "backends/cpu/panel/float_panel.h"

namespace l2a {
namespace {

struct Format {
  static constexpr std::int64_t kBytes = 2;
  static float load(const std::byte* p) {
    std::uint16_t bits;
    std::memcpy(&bits, p, 2);
    return bf16_to_float(bits);
  }
  static void store(float value, std::byte* p) {
    const std::uint16_t bits = float_to_bf16(value);
    std::memcpy(p, &bits, 2);
  }
#if defined(__x86_64__)
  L2A_AVX2 static __m256 load8(const std::byte* p) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x86::load128(p)), 16));
  }
  // As float_to_bf16: add just under half of the last kept bit, or just half if that bit is odd.
  // A NaN must not round up to infinity or zero: it keeps its top bits, quieted.
  L2A_AVX2 static void store8(__m256 v, std::byte* p) {
    const __m256i bits = _mm256_castps_si256(v);
    const __m256i top = _mm256_srli_epi32(bits, 16);
    const __m256i odd = _mm256_and_si256(top, _mm256_set1_epi32(1));
    const __m256i half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff));
    const __m256i rounded = _mm256_srli_epi32(_mm256_add_epi32(bits, half), 16);
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    const __m256i quieted = _mm256_or_si256(top, _mm256_set1_epi32(0x40));
    const __m256i words = _mm256_blendv_epi8(rounded, quieted, nan);
    const __m128i halves =
        _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), halves);
  }
  // Lanes outside the mask are zero and their memory is not touched.
  L2A_AVX512 static __m512 load16(__mmask16 mask, const std::byte* p) {
    const __m256i halves = _mm256_maskz_loadu_epi16(mask, p);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
#elif defined(__aarch64__)
  static float32x4_t load4(const std::byte* p) {
    const uint8x8_t bytes = vld1_u8(reinterpret_cast<const std::uint8_t*>(p));
    return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(bytes), 16));
  }
  // As store8.
  static void store4(float32x4_t v, std::byte* p) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    const uint32x4_t top = vshrq_n_u32(bits, 16);
    const uint32x4_t half = vaddq_u32(vandq_u32(top, vdupq_n_u32(1)), vdupq_n_u32(0x7fff));
    const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(bits, half), 16);
    const uint32x4_t quieted = vorrq_u32(top, vdupq_n_u32(0x40));
    const uint16x4_t words = vmovn_u32(vbslq_u32(vceqq_f32(v, v), rounded, quieted));
    vst1_u8(reinterpret_cast<std::uint8_t*>(p), vreinterpret_u8_u16(words));
  }
#endif
};

}  // namespace

FloatRow bf16_row(SimdLevel level) { return float_row<Format>(level); }
PanelKernel bf16_panel(SimdLevel level) { return float_panel<Format>(level); }

}  // namespace l2a
