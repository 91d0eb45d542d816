#include "ops/dequantize.h"

#include <cstring>

#include "graph/error.h"
#include "graph/half.h"
#include "ops/blocks.h"

namespace l2a {
namespace {

// value = d * q: the offset, where the type has one, is already in q.
template <class Block>
void expand_scaled(const Block& block, float* out) {
  std::int8_t q[32];
  unpack(block, q);
  const float d = block.d.value();
  for (int j = 0; j < 32; ++j) {
    out[j] = d * static_cast<float>(q[j]);
  }
}

template <class Block>
void expand_affine(const Block& block, float* out) {
  std::int8_t q[32];
  unpack(block, q);
  const float d = block.d.value();
  const float m = block.m.value();
  for (int j = 0; j < 32; ++j) {
    out[j] = d * static_cast<float>(q[j]) + m;
  }
}

// q4_k and q5_k.
template <class Block>
void expand_k_affine(const Block& block, float* out) {
  std::int8_t q[256];
  unpack(block, q);
  const SubBlockScales sub = unpack_scales(block.scales);
  for (int s = 0; s < 8; ++s) {
    const float scale = block.d.value() * static_cast<float>(sub.scale[s]);
    const float min = block.dmin.value() * static_cast<float>(sub.min[s]);
    for (int j = 32 * s; j < 32 * (s + 1); ++j) {
      out[j] = scale * static_cast<float>(q[j]) - min;
    }
  }
}

void expand_q6_k(const BlockQ6K& block, float* out) {
  std::int8_t q[256];
  unpack(block, q);
  for (int j = 0; j < 256; ++j) {
    const std::int8_t scale = block.scales[j / 16];
    out[j] = block.d.value() * static_cast<float>(scale) * static_cast<float>(q[j]);
  }
}

template <class Block>
void expand_row(std::span<const std::byte> row, std::span<float> out,
                void (*expand)(const Block&, float*)) {
  const auto* blocks = reinterpret_cast<const Block*>(row.data());
  for (std::size_t i = 0; i < row.size() / sizeof(Block); ++i) {
    expand(blocks[i], out.data() + i * Block::kElements);
  }
}

void expand_halves(std::span<const std::byte> row, std::span<float> out,
                   float (*to_float)(std::uint16_t)) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, row.data() + 2 * i, 2);
    out[i] = to_float(bits);
  }
}

}  // namespace

void dequantize_row(Dtype dtype, std::span<const std::byte> row, std::span<float> out) {
  const std::size_t expected = dtype_bytes(dtype, static_cast<std::int64_t>(out.size()));
  if (row.size() != expected) {
    throw Error(concat("dequantize_row: a row of ", out.size(), " ", dtype_name(dtype),
                       " values is ", expected, " bytes, not ", row.size()));
  }
  switch (dtype) {
    case Dtype::f32:
      if (!out.empty()) {
        std::memcpy(out.data(), row.data(), row.size());
      }
      return;
    case Dtype::f16:
      return expand_halves(row, out, f16_to_float);
    case Dtype::bf16:
      return expand_halves(row, out, bf16_to_float);
    case Dtype::q4_0:
      return expand_row<BlockQ4_0>(row, out, expand_scaled);
    case Dtype::q4_1:
      return expand_row<BlockQ4_1>(row, out, expand_affine);
    case Dtype::q5_0:
      return expand_row<BlockQ5_0>(row, out, expand_scaled);
    case Dtype::q5_1:
      return expand_row<BlockQ5_1>(row, out, expand_affine);
    case Dtype::q8_0:
      return expand_row<BlockQ8_0>(row, out, expand_scaled);
    case Dtype::q4_k:
      return expand_row<BlockQ4K>(row, out, expand_k_affine);
    case Dtype::q5_k:
      return expand_row<BlockQ5K>(row, out, expand_k_affine);
    case Dtype::q6_k:
      return expand_row<BlockQ6K>(row, out, expand_q6_k);
    case Dtype::i32:
      break;
  }
  throw Error(concat("dequantize_row: ", dtype_name(dtype), " has no float meaning"));
}

}  // namespace l2a
