// q4_0, q4_1, q5_0, q5_1: 32 values, an f16 scale and in the _1 types an f16 minimum. An f16 is so
// fine beside four or five bits that rounding the best pair to it costs nothing worth a search.
#include <cstring>

#include "convert/encode/families.h"
#include "convert/encode/starts.h"

namespace l2a::encode {
namespace {

constexpr int kCount = 32;

template <Dtype kDtype>
struct Layout;
template <>
struct Layout<Dtype::q4_0> {
  using Stored = BlockQ4_0;
  static constexpr CodeRange kCodes = {-8.0f, 7.0f};
};
template <>
struct Layout<Dtype::q4_1> {
  using Stored = BlockQ4_1;
  static constexpr CodeRange kCodes = {0.0f, 15.0f};
};
template <>
struct Layout<Dtype::q5_0> {
  using Stored = BlockQ5_0;
  static constexpr CodeRange kCodes = {-16.0f, 15.0f};
};
template <>
struct Layout<Dtype::q5_1> {
  using Stored = BlockQ5_1;
  static constexpr CodeRange kCodes = {0.0f, 31.0f};
};

void pack_nibbles(const std::uint8_t codes[kCount], std::uint8_t qs[16]) {
  for (int j = 0; j < 16; ++j) {
    qs[j] = static_cast<std::uint8_t>((codes[j] & 15) | codes[j + 16] << 4);
  }
}

void pack_fifth_bits(const std::uint8_t codes[kCount], std::uint8_t qh[4]) {
  for (int byte = 0; byte < 4; ++byte) {
    int bits = 0;
    for (int bit = 0; bit < 8; ++bit) {
      bits |= codes[8 * byte + bit] >> 4 << bit;
    }
    qh[byte] = static_cast<std::uint8_t>(bits);
  }
}

template <Dtype kDtype>
void encode_block(const GridSearch& search, const float* values, const float* importance,
                  std::byte* out) {
  using Stored = typename Layout<kDtype>::Stored;
  constexpr CodeRange kCodes = Layout<kDtype>::kCodes;
  constexpr bool kMinimum = requires(Stored s) { s.m; };
  constexpr bool kFiveBits = requires(Stored s) { s.qh; };
  const float largest = largest_magnitude(values, kCount);
  Stored stored{};
  Block block;
  Candidates candidates;
  std::uint8_t codes[kCount];
  float scale = 0.0f;
  float offset = 0.0f;
  block.fill(values, importance, kCount, largest < kSmallest ? 0.0f : 1.0f / largest);
  if (largest >= kSmallest) {
    if constexpr (kMinimum) {
      start_ranges(block.low, block.high, kCodes, candidates);
      search.refine(block, kCodes, Fit::scale_and_offset, 3, candidates);
    } else {
      start_scales(block, kCodes, candidates);
      search.refine(block, kCodes, Fit::scale, 2, candidates);
    }
    search.measure(block, kCodes, candidates);
    const int best = candidates.best();
    stored.d = to_half_not_zero(candidates.scale[best] * largest, kDtype);
    scale = stored.d.value() / largest;
    if constexpr (kMinimum) {
      stored.m = to_half(candidates.offset[best] * largest, kDtype);
      offset = stored.m.value() / largest;
    }
  }
  block.assign(kCodes, scale, offset, codes);
  pack_nibbles(codes, stored.qs);
  if constexpr (kFiveBits) {
    pack_fifth_bits(codes, stored.qh);
  }
  std::memcpy(out, &stored, sizeof stored);
}

}  // namespace

EncodeBlock blocks32_encoder(Dtype dtype) {
  switch (dtype) {
    case Dtype::q4_0:
      return encode_block<Dtype::q4_0>;
    case Dtype::q4_1:
      return encode_block<Dtype::q4_1>;
    case Dtype::q5_0:
      return encode_block<Dtype::q5_0>;
    default:
      return encode_block<Dtype::q5_1>;
  }
}

}  // namespace l2a::encode
