// q5_0: Σ d (q - 16) · x over blocks of 32 five-bit values.
// The fifth bits are 32 bits in order, which AVX-512 can use as a mask as they are.
#include "backends/cpu/dot/blocks32.h"

namespace l2a {
namespace {

struct Format {
  using Block = BlockQ5_0;
#if defined(__x86_64__)
  static constexpr int kOffset = 16;
  static constexpr bool kSigned = false;
  L2A_AVX2 static __m256i quants(const Block& block) {
    return _mm256_or_si256(x86::split_nibbles(block.qs), x86::fifth_bits(x86::load_u32(block.qh)));
  }
  L2A_AVX512 static __m512i quants(const Block& a, const Block& b) {
    const __m512i low = x86::split_nibbles(a.qs, b.qs);
    const std::uint64_t high = std::uint64_t{x86::load_u32(b.qh)} << 32 | x86::load_u32(a.qh);
    return _mm512_mask_add_epi8(low, high, low, _mm512_set1_epi8(16));
  }
#endif
};

}  // namespace

QuantizedDot q5_0_dot(SimdLevel level) { return blocks32_dot<Format>(level); }

}  // namespace l2a
