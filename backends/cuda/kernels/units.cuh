// What one lane takes of a quantized row: 32 or 64 weights as packed int8 in pieces of 16 or 32, each piece with its
// scale d and, where the type has an offset or a minimum, m. A piece's product with activations of one block of 32
// (scale s, sum S) is d s Σ q_w q_x + m S.
//
// Blocks are read from shared memory at whatever even address they have in the file.
#pragma once

#include "backends/cuda/kernels/blocks.cuh"

namespace l2a::cuda {

// `count` words from an even address.
template <int count>
__device__ inline void load_words(const std::uint8_t* from, std::uint32_t (&to)[count]) {
  const auto address = reinterpret_cast<std::uintptr_t>(from);
  const auto* words = reinterpret_cast<const std::uint32_t*>(address & ~std::uintptr_t{3});
  const unsigned shift = (address & 2) * 8;
  std::uint32_t low = words[0];
#pragma unroll
  for (int i = 0; i < count; ++i) {
    const std::uint32_t high = words[i + 1];
    to[i] = __funnelshift_r(low, high, shift);
    low = high;
  }
}

// Bits 0 to 3 to bit 4 of each of four bytes.
__device__ inline std::uint32_t fifth_bits(std::uint32_t b) {
  return (b & 1) << 4 | (b & 2) << 11 | (b & 4) << 18 | (b & 8) << 25;
}

template <Dtype dtype>
struct Unit;

// Types with blocks of 32: a lane takes a block.
template <Dtype dtype, int block_bytes, bool has_min>
struct Unit32 {
  static constexpr int kBlockBytes = block_bytes, kLanes = 1, kChunk = 1024;
  static constexpr int kPieces = 1, kWords = 8;
  static constexpr bool kMin = has_min;
  std::uint32_t q[1][8];
  float d[1], m[1];
  // Of the first weight in the chunk; pieces are 32 apart.
  __device__ static int offset(int lane) { return 32 * lane; }

  __device__ void set_nibbles(const std::uint32_t* words) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      q[0][i] = words[i] & 0x0f0f0f0fu;
      q[0][i + 4] = (words[i] >> 4) & 0x0f0f0f0fu;
    }
  }
  __device__ void add_fifth_bits(std::uint32_t high) {
#pragma unroll
    for (int i = 0; i < 8; ++i) q[0][i] |= fifth_bits(high >> (4 * i));
  }
};

template <>
struct Unit<Dtype::q8_0> : Unit32<Dtype::q8_0, sizeof(BlockQ8_0), false> {
  __device__ void load(const std::uint8_t* block, int /*part*/) {
    d[0] = half_at(block);
    load_words(block + 2, q[0]);
  }
};

template <>
struct Unit<Dtype::q4_0> : Unit32<Dtype::q4_0, sizeof(BlockQ4_0), true> {
  __device__ void load(const std::uint8_t* block, int /*part*/) {
    std::uint32_t words[4];
    load_words(block + 2, words);
    d[0] = half_at(block);
    m[0] = -8.0f * d[0];
    set_nibbles(words);
  }
};

template <>
struct Unit<Dtype::q4_1> : Unit32<Dtype::q4_1, sizeof(BlockQ4_1), true> {
  __device__ void load(const std::uint8_t* block, int /*part*/) {
    std::uint32_t words[4];
    load_words(block + 4, words);
    d[0] = half_at(block);
    m[0] = half_at(block + 2);
    set_nibbles(words);
  }
};

template <>
struct Unit<Dtype::q5_0> : Unit32<Dtype::q5_0, sizeof(BlockQ5_0), true> {
  __device__ void load(const std::uint8_t* block, int /*part*/) {
    std::uint32_t words[5];
    load_words(block + 2, words);
    d[0] = half_at(block);
    m[0] = -16.0f * d[0];
    set_nibbles(words + 1);
    add_fifth_bits(words[0]);
  }
};

template <>
struct Unit<Dtype::q5_1> : Unit32<Dtype::q5_1, sizeof(BlockQ5_1), true> {
  __device__ void load(const std::uint8_t* block, int /*part*/) {
    std::uint32_t words[5];
    load_words(block + 4, words);
    d[0] = half_at(block);
    m[0] = half_at(block + 2);
    set_nibbles(words + 1);
    add_fifth_bits(words[0]);
  }
};

// q4_k and q5_k: a lane takes 64 weights, two sub-blocks that share their bytes. Rows are whole multiples of 16 bytes.
template <int block_bytes>
struct UnitKAffine {
  static constexpr int kBlockBytes = block_bytes, kLanes = 4, kChunk = 2048;
  static constexpr int kPieces = 2, kWords = 8;
  static constexpr bool kMin = true;
  std::uint32_t q[2][8];
  float d[2], m[2];
  __device__ static int offset(int lane) { return 64 * lane; }

  __device__ void set_scales(const std::uint8_t* block, int part) {
    const uint4 head = *reinterpret_cast<const uint4*>(block);
    const float2 both = __half22float2(*reinterpret_cast<const __half2*>(&head.x));
    // Scales and minimums of sub-blocks 2 part and 2 part + 1, two bytes each.
    const unsigned shift = 16 * (part % 2);
    const std::uint32_t low_scales = head.y >> shift, low_mins = head.z >> shift;
    std::uint32_t scales, mins;
    if (part < 2) {
      scales = low_scales & 0x3f3fu;
      mins = low_mins & 0x3f3fu;
    } else {
      const std::uint32_t nibbles = head.w >> shift;
      scales = (nibbles & 0x0f0fu) | ((low_scales >> 2) & 0x3030u);
      mins = ((nibbles >> 4) & 0x0f0fu) | ((low_mins >> 2) & 0x3030u);
    }
#pragma unroll
    for (int s = 0; s < 2; ++s) {
      d[s] = both.x * static_cast<float>((scales >> (8 * s)) & 63);
      m[s] = -both.y * static_cast<float>((mins >> (8 * s)) & 63);
    }
  }
  __device__ void set_nibbles(const std::uint8_t* qs) {
    const auto* quads = reinterpret_cast<const uint4*>(qs);
    const uint4 a = quads[0], b = quads[1];
    const std::uint32_t words[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      q[0][i] = words[i] & 0x0f0f0f0fu;
      q[1][i] = (words[i] >> 4) & 0x0f0f0f0fu;
    }
  }
};

template <>
struct Unit<Dtype::q4_k> : UnitKAffine<sizeof(BlockQ4K)> {
  __device__ void load(const std::uint8_t* block, int part) {
    set_scales(block, part);
    set_nibbles(block + 16 + 32 * part);
  }
};

template <>
struct Unit<Dtype::q5_k> : UnitKAffine<sizeof(BlockQ5K)> {
  __device__ void load(const std::uint8_t* block, int part) {
    set_scales(block, part);
    set_nibbles(block + 48 + 32 * part);
    const auto* quads = reinterpret_cast<const uint4*>(block + 16);
    const uint4 a = quads[0], b = quads[1];
    const std::uint32_t high[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const std::uint32_t bits = high[i] >> (2 * part);
      q[0][i] |= (bits & 0x01010101u) << 4;
      q[1][i] |= (bits & 0x02020202u) << 3;
    }
  }
};

// q6_k: a lane takes 16 places of one half, each in all four groups of 32: 64 weights in pieces of 16.
template <>
struct Unit<Dtype::q6_k> {
  static constexpr int kBlockBytes = sizeof(BlockQ6K), kLanes = 4, kChunk = 2048;
  static constexpr int kPieces = 4, kWords = 4;
  static constexpr bool kMin = false;
  std::uint32_t q[4][4];
  float d[4], m[4];
  __device__ static int offset(int lane) {
    return 256 * (lane / 4) + 128 * (lane % 4 / 2) + 16 * (lane % 2);
  }

  __device__ void load(const std::uint8_t* block, int part) {
    const int half = part / 2, place = 16 * (part % 2);
    std::uint32_t low0[4], low1[4], high[4];
    load_words(block + 64 * half + place, low0);
    load_words(block + 64 * half + 32 + place, low1);
    load_words(block + 128 + 32 * half + place, high);
    const float scale = half_at(block + 208);
#pragma unroll
    for (int g = 0; g < 4; ++g) {
      d[g] = scale *
             static_cast<float>(static_cast<std::int8_t>(block[192 + 8 * half + 2 * g + part % 2]));
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t low[4] = {low0[i] & 0x0f0f0f0fu, low1[i] & 0x0f0f0f0fu,
                                    (low0[i] >> 4) & 0x0f0f0f0fu, (low1[i] >> 4) & 0x0f0f0f0fu};
#pragma unroll
      for (int g = 0; g < 4; ++g) {
        const std::uint32_t six = low[g] | ((high[i] >> (2 * g)) & 0x03030303u) << 4;
        // Minus 32 in each byte: no byte borrows from the next, as all are 128 to 191 before.
        q[g][i] = ((six | 0x80808080u) - 0x20202020u) ^ 0x80808080u;
      }
    }
  }
};

}  // namespace l2a::cuda
