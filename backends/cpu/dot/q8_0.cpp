// q8_0: Σ d q · x over blocks of 32 signed bytes.
// Both sides are signed, so the weight's sign moves to the activation (x86.h).
#include "backends/cpu/dot/blocks32.h"
#include "backends/cpu/panel/sources.h"

namespace l2a {
namespace {

struct Format {
  using Block = BlockQ8_0;
  static constexpr int kOffset = 0;
  static constexpr bool kSigned = true;
#if defined(__x86_64__)
  L2A_AVX2 static __m256i quants(const Block& block) { return x86::load256(block.qs); }
  L2A_AVX512 static __m512i quants(const Block& a, const Block& b) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(x86::load256(a.qs)), x86::load256(b.qs), 1);
  }
#elif defined(__aarch64__)
  static int8x16x2_t quants(const Block& block) { return arm::load32(block.qs); }
#endif
};

}  // namespace

QuantizedDot q8_0_dot(SimdLevel level) { return blocks32_dot<Format>(level); }
PanelKernel q8_0_panel(SimdLevel level) { return quantized_panel<Blocks32Source<Format>>(level); }

}  // namespace l2a
