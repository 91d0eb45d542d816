// q6_k: 256 values in sixteen sub-blocks of 16, each with a signed eight-bit scale in units of one
// f16.
//
// As for q4_k, a free search for each sub-block says how large the unit must be, and a second one
// goes over the stored integers around the free solution.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "convert/encode/families.h"
#include "convert/encode/starts.h"

namespace l2a::encode {
namespace {

constexpr int kSubBlocks = 16;
constexpr int kCount = 16;
constexpr CodeRange kCodes = {-32.0f, 31.0f};

// The first of sixteen integers around value / unit.
int neighbourhood(float value, float unit) {
  return std::clamp(static_cast<int>(value / unit) - 7, -128, 127 - 15);
}

void pack_codes(const std::uint8_t codes[256], BlockQ6K& stored) {
  for (int half = 0; half < 2; ++half) {
    const std::uint8_t* q = codes + 128 * half;
    for (int j = 0; j < 64; ++j) {
      stored.ql[64 * half + j] = static_cast<std::uint8_t>((q[j] & 15) | q[64 + j] << 4);
    }
    for (int j = 0; j < 32; ++j) {
      stored.qh[32 * half + j] = static_cast<std::uint8_t>(
          q[j] >> 4 | q[32 + j] >> 4 << 2 | q[64 + j] >> 4 << 4 | q[96 + j] >> 4 << 6);
    }
  }
}

BlockQ6K encode_values(const GridSearch& search, const float* values, const float* importance,
                       float largest) {
  BlockQ6K stored{};
  Block blocks[kSubBlocks];
  Candidates candidates;
  float scales[kSubBlocks];
  float top = 0.0f;
  for (int s = 0; s < kSubBlocks; ++s) {
    blocks[s].fill(values + kCount * s, importance == nullptr ? nullptr : importance + kCount * s,
                   kCount, 1.0f / largest);
    start_scales(blocks[s], kCodes, candidates);
    search.refine(blocks[s], kCodes, Fit::scale, 2, candidates);
    scales[s] = candidates.scale[candidates.best()];
    top = std::fabs(scales[s]) > std::fabs(top) ? scales[s] : top;
  }
  // The largest scale becomes -128, the integer with one more than its opposite.
  stored.d = to_half_outward(top * largest / -128.0f, Dtype::q6_k);
  const float d = stored.d.value() / largest;

  std::uint8_t codes[256];
  for (int s = 0; s < kSubBlocks; ++s) {
    const int first = neighbourhood(scales[s], d);
    for (int i = 0; i < kCandidates; ++i) {
      candidates.scale[i] = d * static_cast<float>(first + i);
      candidates.offset[i] = 0.0f;
    }
    search.measure(blocks[s], kCodes, candidates);
    const int best = candidates.best();
    stored.scales[s] = static_cast<std::int8_t>(first + best);
    blocks[s].assign(kCodes, candidates.scale[best], 0.0f, codes + kCount * s);
  }
  pack_codes(codes, stored);
  return stored;
}

void encode_block(const GridSearch& search, const float* values, const float* importance,
                  std::byte* out) {
  const float largest = largest_magnitude(values, BlockQ6K::kElements);
  BlockQ6K stored{};  // zeros
  if (largest >= kSmallest) {
    stored = encode_values(search, values, importance, largest);
  }
  std::memcpy(out, &stored, sizeof stored);
}

}  // namespace

EncodeBlock q6_k_encoder() { return encode_block; }

}  // namespace l2a::encode
