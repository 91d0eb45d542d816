// GGUF's quantized blocks, byte for byte, and how their small integers are unpacked.
//
// Everything is little-endian and byte-aligned: a block may start at any address, so the structs
// hold nothing wider than a byte and a row is a plain array of blocks. Two families:
//
//   32 values a block    one f16 scale d (and, in the _1 types, one f16 minimum m):
//                          q4_0, q5_0, q8_0:  value = d * (q - offset)      offset 8, 16, 0
//                          q4_1, q5_1:        value = d * q + m
//   256 values a block   "K": sub-blocks with small integer scales under one f16 scale:
//                          q4_k, q5_k:        value = (d * sc) * q - (dmin * mn)    8 sub-blocks of
//                          32 q6_k:              value = (d * sc) * (q - 32)          16 sub-blocks
//                          of 16
//
// `unpack` writes the q of a block in element order, with the offset already subtracted for the
// types that have one. It is the one plain statement of each bit layout; vector kernels are tested
// against it.
#pragma once

#include <cstddef>
#include <cstdint>

#include "graph/half.h"

namespace l2a {

// An f16 at any address.
struct PackedHalf {
  std::uint8_t low;
  std::uint8_t high;

  std::uint16_t bits() const { return static_cast<std::uint16_t>(low | (high << 8)); }
  float value() const { return f16_to_float(bits()); }
};

// q4_0: byte j holds element j in its low nibble and element j + 16 in its high nibble.
struct BlockQ4_0 {
  static constexpr int kElements = 32;
  PackedHalf d;
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_0) == 18 && alignof(BlockQ4_0) == 1);

// q4_1: nibbles as in q4_0, unsigned, with a minimum.
struct BlockQ4_1 {
  static constexpr int kElements = 32;
  PackedHalf d;
  PackedHalf m;
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ4_1) == 20 && alignof(BlockQ4_1) == 1);

// q5_0: nibbles as in q4_0; bit j of the 32-bit little-endian qh is the fifth bit of element j.
struct BlockQ5_0 {
  static constexpr int kElements = 32;
  PackedHalf d;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_0) == 22 && alignof(BlockQ5_0) == 1);

// q5_1: as q5_0, unsigned, with a minimum.
struct BlockQ5_1 {
  static constexpr int kElements = 32;
  PackedHalf d;
  PackedHalf m;
  std::uint8_t qh[4];
  std::uint8_t qs[16];
};
static_assert(sizeof(BlockQ5_1) == 24 && alignof(BlockQ5_1) == 1);

// q8_0: signed bytes in element order.
struct BlockQ8_0 {
  static constexpr int kElements = 32;
  PackedHalf d;
  std::int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34 && alignof(BlockQ8_0) == 1);

// Eight 6-bit scales and eight 6-bit minimums in 12 bytes. With b the bytes, for sub-block j < 4:
//   sc[j] = b[j] & 63                        mn[j] = b[j + 4] & 63
// and for j >= 4 the low four bits are nibbles of b[8..11], the high two the top bits of b[0..7]:
//   sc[j] = (b[j + 4] & 15) | (b[j - 4] >> 6) << 4      mn[j] = (b[j + 4] >> 4) | (b[j] >> 6) << 4
struct PackedScales {
  std::uint8_t bytes[12];
};
struct SubBlockScales {
  std::uint8_t scale[8];
  std::uint8_t min[8];
};
inline SubBlockScales unpack_scales(const PackedScales& packed) {
  const std::uint8_t* b = packed.bytes;
  SubBlockScales out;
  for (int j = 0; j < 4; ++j) {
    out.scale[j] = b[j] & 63;
    out.min[j] = b[j + 4] & 63;
    out.scale[j + 4] = static_cast<std::uint8_t>((b[j + 8] & 15) | ((b[j] >> 6) << 4));
    out.min[j + 4] = static_cast<std::uint8_t>((b[j + 8] >> 4) | ((b[j + 4] >> 6) << 4));
  }
  return out;
}

// q4_k: bytes 32i..32i+31 of qs hold sub-block 2i in their low nibbles and 2i + 1 in their high
// ones.
struct BlockQ4K {
  static constexpr int kElements = 256;
  PackedHalf d;
  PackedHalf dmin;
  PackedScales scales;
  std::uint8_t qs[128];
};
static_assert(sizeof(BlockQ4K) == 144 && alignof(BlockQ4K) == 1);

// q5_k: as q4_k; bit s of qh[j] is the fifth bit of element j of sub-block s.
struct BlockQ5K {
  static constexpr int kElements = 256;
  PackedHalf d;
  PackedHalf dmin;
  PackedScales scales;
  std::uint8_t qh[32];
  std::uint8_t qs[128];
};
static_assert(sizeof(BlockQ5K) == 176 && alignof(BlockQ5K) == 1);

// q6_k: two halves of 128 elements, each with 64 bytes of ql and 32 of qh. In a half, element
// 32g + j (g < 4) has its low four bits in the low (g < 2) or high nibble of ql[32 (g % 2) + j] and
// its high two in bits 2g, 2g + 1 of qh[j]. scales[i] belongs to elements 16i..16i+15.
struct BlockQ6K {
  static constexpr int kElements = 256;
  std::uint8_t ql[128];
  std::uint8_t qh[64];
  std::int8_t scales[16];
  PackedHalf d;
};
static_assert(sizeof(BlockQ6K) == 210 && alignof(BlockQ6K) == 1);

namespace block_detail {

inline void unpack_nibbles(const std::uint8_t qs[16], int offset, std::int8_t out[32]) {
  for (int j = 0; j < 16; ++j) {
    out[j] = static_cast<std::int8_t>((qs[j] & 15) - offset);
    out[j + 16] = static_cast<std::int8_t>((qs[j] >> 4) - offset);
  }
}

// Adds 16 where the fifth bit is set.
inline void add_fifth_bits(const std::uint8_t qh[4], std::int8_t out[32]) {
  for (int j = 0; j < 32; ++j) {
    out[j] = static_cast<std::int8_t>(out[j] + (((qh[j / 8] >> (j % 8)) & 1) << 4));
  }
}

inline void unpack_sub_block_nibbles(const std::uint8_t qs[128], std::int8_t out[256]) {
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 32; ++j) {
      out[64 * i + j] = static_cast<std::int8_t>(qs[32 * i + j] & 15);
      out[64 * i + 32 + j] = static_cast<std::int8_t>(qs[32 * i + j] >> 4);
    }
  }
}

}  // namespace block_detail

inline void unpack(const BlockQ4_0& block, std::int8_t out[32]) {
  block_detail::unpack_nibbles(block.qs, 8, out);
}
inline void unpack(const BlockQ4_1& block, std::int8_t out[32]) {
  block_detail::unpack_nibbles(block.qs, 0, out);
}
inline void unpack(const BlockQ5_0& block, std::int8_t out[32]) {
  block_detail::unpack_nibbles(block.qs, 16, out);
  block_detail::add_fifth_bits(block.qh, out);
}
inline void unpack(const BlockQ5_1& block, std::int8_t out[32]) {
  block_detail::unpack_nibbles(block.qs, 0, out);
  block_detail::add_fifth_bits(block.qh, out);
}
inline void unpack(const BlockQ8_0& block, std::int8_t out[32]) {
  for (int j = 0; j < 32; ++j) {
    out[j] = block.qs[j];
  }
}
inline void unpack(const BlockQ4K& block, std::int8_t out[256]) {
  block_detail::unpack_sub_block_nibbles(block.qs, out);
}
inline void unpack(const BlockQ5K& block, std::int8_t out[256]) {
  block_detail::unpack_sub_block_nibbles(block.qs, out);
  for (int s = 0; s < 8; ++s) {
    for (int j = 0; j < 32; ++j) {
      out[32 * s + j] = static_cast<std::int8_t>(out[32 * s + j] + (((block.qh[j] >> s) & 1) << 4));
    }
  }
}
inline void unpack(const BlockQ6K& block, std::int8_t out[256]) {
  for (int half = 0; half < 2; ++half) {
    for (int g = 0; g < 4; ++g) {
      for (int j = 0; j < 32; ++j) {
        const int low = (block.ql[64 * half + 32 * (g % 2) + j] >> (g < 2 ? 0 : 4)) & 15;
        const int high = (block.qh[32 * half + j] >> (2 * g)) & 3;
        out[128 * half + 32 * g + j] = static_cast<std::int8_t>((low | (high << 4)) - 32);
      }
    }
  }
}

}  // namespace l2a
