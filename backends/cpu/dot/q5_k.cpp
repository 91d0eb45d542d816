// q5_k: Σ (d sc q - dmin mn) · x over blocks of 256 five-bit values.
// As q4_k, with bit s of qh[j] as the fifth bit of sub-block s.
#include "backends/cpu/dot/k_affine.h"
#include "backends/cpu/panel/sources.h"

namespace l2a {
namespace {

struct Format {
  using Block = BlockQ5K;
#if defined(__x86_64__)
  L2A_AVX2 static __m256i quants(const Block& block, int s) {
    const __m256i bit = _mm256_set1_epi8(static_cast<char>(1 << s));
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(x86::load256(block.qh), bit), bit);
    return _mm256_or_si256(x86::sub_block_nibbles(block.qs, s),
                           _mm256_and_si256(set, _mm256_set1_epi8(16)));
  }
  L2A_AVX512 static __m512i quant_pair(const Block& block, int i) {
    const __m512i low = x86::sub_block_nibble_pair(block.qs, i);
    const __m512i high = _mm512_broadcast_i64x4(x86::load256(block.qh));
    const __m512i bit = _mm512_inserti64x4(_mm512_set1_epi8(static_cast<char>(1 << (2 * i))),
                                           _mm256_set1_epi8(static_cast<char>(2 << (2 * i))), 1);
    return _mm512_mask_add_epi8(low, _mm512_test_epi8_mask(high, bit), low, _mm512_set1_epi8(16));
  }
#elif defined(__aarch64__)
  static int8x16x2_t quants(const Block& block, int s) {
    const uint8x16_t bit = vdupq_n_u8(static_cast<std::uint8_t>(1 << s));
    const int8x16x2_t low = arm::sub_block_nibbles(block.qs, s);
    return {arm::with_fifth_bit(low.val[0], vld1q_u8(block.qh), bit),
            arm::with_fifth_bit(low.val[1], vld1q_u8(block.qh + 16), bit)};
  }
#endif
};

}  // namespace

QuantizedDot q5_k_dot(SimdLevel level) { return k_affine_dot<Format>(level); }
PanelKernel q5_k_panel(SimdLevel level) { return quantized_panel<KAffineSource<Format>>(level); }

}  // namespace l2a
