// q4_0: Σ d (q - 8) · x over blocks of 32 four-bit values.
// Nibbles stay unsigned; the offset is charged once a block through the activations' sums.
#include "backends/cpu/dot/blocks32.h"
#include "backends/cpu/panel/sources.h"

namespace l2a {
namespace {

struct Format {
  using Block = BlockQ4_0;
  static constexpr int kOffset = 8;
  static constexpr bool kSigned = false;
#if defined(__x86_64__)
  L2A_AVX2 static __m256i quants(const Block& block) { return x86::split_nibbles(block.qs); }
  L2A_AVX512 static __m512i quants(const Block& a, const Block& b) {
    return x86::split_nibbles(a.qs, b.qs);
  }
#elif defined(__aarch64__)
  static int8x16x2_t quants(const Block& block) { return arm::split_nibbles(block.qs); }
#endif
};

}  // namespace

QuantizedDot q4_0_dot(SimdLevel level) { return blocks32_dot<Format>(level); }
PanelKernel q4_0_panel(SimdLevel level) { return quantized_panel<Blocks32Source<Format>>(level); }

}  // namespace l2a
