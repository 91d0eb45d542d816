// q4_k: Σ (d sc q - dmin mn) · x over blocks of 256 four-bit values.
// Two sub-blocks share 32 bytes, one in each nibble.
#include "backends/cpu/dot/k_affine.h"
#include "backends/cpu/panel/sources.h"

namespace l2a {
namespace {

struct Format {
  using Block = BlockQ4K;
#if defined(__x86_64__)
  L2A_AVX2 static __m256i quants(const Block& block, int s) {
    return x86::sub_block_nibbles(block.qs, s);
  }
  L2A_AVX512 static __m512i quant_pair(const Block& block, int i) {
    return x86::sub_block_nibble_pair(block.qs, i);
  }
#elif defined(__aarch64__)
  static int8x16x2_t quants(const Block& block, int s) {
    return arm::sub_block_nibbles(block.qs, s);
  }
#endif
};

}  // namespace

QuantizedDot q4_k_dot(SimdLevel level) { return k_affine_dot<Format>(level); }
PanelKernel q4_k_panel(SimdLevel level) { return quantized_panel<KAffineSource<Format>>(level); }

}  // namespace l2a
