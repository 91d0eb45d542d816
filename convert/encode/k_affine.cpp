// q4_k and q5_k: 256 values in eight sub-blocks of 32, each with a six-bit scale and minimum in
// units of an f16 each.
//
// A free search for each sub-block says how large the units must be. Six bits are coarse beside
// what that search resolves, and scale and minimum can make up for each other, so a second search
// goes over the sixteen pairs of stored integers around the free solution.
#include <algorithm>
#include <cstring>

#include "convert/encode/families.h"
#include "convert/encode/starts.h"

namespace l2a::encode {
namespace {

constexpr int kSubBlocks = 8;
constexpr int kCount = 32;
constexpr int kLargestScale = 63;

PackedScales pack_scales(const SubBlockScales& sub) {
  PackedScales packed;
  for (int j = 0; j < 4; ++j) {
    const int scale = sub.scale[j + 4];
    const int min = sub.min[j + 4];
    packed.bytes[j] = static_cast<std::uint8_t>(sub.scale[j] | scale >> 4 << 6);
    packed.bytes[j + 4] = static_cast<std::uint8_t>(sub.min[j] | min >> 4 << 6);
    packed.bytes[j + 8] = static_cast<std::uint8_t>((scale & 15) | (min & 15) << 4);
  }
  return packed;
}

// The first of four integers around value / unit.
int neighbourhood(float value, float unit) {
  const int below = unit > 0.0f ? static_cast<int>(value / unit) : 0;
  return std::clamp(below - 1, 0, kLargestScale - 3);
}

void pack_codes(const std::uint8_t codes[256], std::uint8_t qs[128]) {
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 32; ++j) {
      qs[32 * i + j] =
          static_cast<std::uint8_t>((codes[64 * i + j] & 15) | codes[64 * i + 32 + j] << 4);
    }
  }
}

void pack_fifth_bits(const std::uint8_t codes[256], std::uint8_t qh[32]) {
  for (int s = 0; s < kSubBlocks; ++s) {
    for (int j = 0; j < 32; ++j) {
      qh[j] = static_cast<std::uint8_t>(qh[j] | codes[32 * s + j] >> 4 << s);
    }
  }
}

template <class Stored, Dtype kDtype, CodeRange kCodes>
Stored encode_values(const GridSearch& search, const float* values, const float* importance,
                     float largest) {
  Stored stored{};
  Block blocks[kSubBlocks];
  Candidates candidates;
  float scales[kSubBlocks];
  float minimums[kSubBlocks];
  for (int s = 0; s < kSubBlocks; ++s) {
    Block& block = blocks[s];
    block.fill(values + kCount * s, importance == nullptr ? nullptr : importance + kCount * s,
               kCount, 1.0f / largest);
    start_ranges(std::min(block.low, 0.0f), block.high, kCodes, candidates);
    search.refine(block, kCodes, Fit::scale_and_offset_not_above_0, 3, candidates);
    const int best = candidates.best();
    scales[s] = candidates.scale[best];
    minimums[s] = -candidates.offset[best];
  }
  const auto unit = [&](const float* of) {
    return to_half_outward(*std::max_element(of, of + kSubBlocks) * largest / kLargestScale,
                           kDtype);
  };
  stored.d = unit(scales);
  stored.dmin = unit(minimums);
  const float d = stored.d.value() / largest;
  const float dmin = stored.dmin.value() / largest;

  SubBlockScales sub;
  std::uint8_t codes[256];
  for (int s = 0; s < kSubBlocks; ++s) {
    const int scale = neighbourhood(scales[s], d);
    const int min = neighbourhood(minimums[s], dmin);
    for (int i = 0; i < kCandidates; ++i) {
      const int column = i % 4, row = i / 4;
      candidates.scale[i] = d * static_cast<float>(scale + column);
      candidates.offset[i] = -dmin * static_cast<float>(min + row);
    }
    search.measure(blocks[s], kCodes, candidates);
    const int best = candidates.best();
    sub.scale[s] = static_cast<std::uint8_t>(scale + best % 4);
    sub.min[s] = static_cast<std::uint8_t>(min + best / 4);
    blocks[s].assign(kCodes, candidates.scale[best], candidates.offset[best], codes + kCount * s);
  }
  stored.scales = pack_scales(sub);
  pack_codes(codes, stored.qs);
  if constexpr (requires { stored.qh; }) {
    pack_fifth_bits(codes, stored.qh);
  }
  return stored;
}

template <class Stored, Dtype kDtype, int kHighest>
void encode_block(const GridSearch& search, const float* values, const float* importance,
                  std::byte* out) {
  const float largest = largest_magnitude(values, Stored::kElements);
  Stored stored{};  // zeros
  if (largest >= kSmallest) {
    stored = encode_values<Stored, kDtype, CodeRange{0.0f, kHighest}>(search, values, importance,
                                                                      largest);
  }
  std::memcpy(out, &stored, sizeof stored);
}

}  // namespace

EncodeBlock k_affine_encoder(Dtype dtype) {
  return dtype == Dtype::q4_k ? encode_block<BlockQ4K, Dtype::q4_k, 15>
                              : encode_block<BlockQ5K, Dtype::q5_k, 31>;
}

}  // namespace l2a::encode
