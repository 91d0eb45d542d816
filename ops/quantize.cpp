#include "ops/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "graph/error.h"
#include "graph/half.h"
#include "ops/blocks.h"

namespace l2a {
namespace {

template <std::uint16_t (*Encode)(float)>
void encode_halves(std::span<const float> values, std::byte* to) {
  for (const float value : values) {
    const std::uint16_t half = Encode(value);
    std::memcpy(to, &half, sizeof half);
    to += sizeof half;
  }
}

void encode_q8_0(std::span<const float> values, std::byte* to) {
  for (std::size_t begin = 0; begin < values.size(); begin += 32) {
    const std::span<const float> block = values.subspan(begin, 32);
    float largest = 0;
    for (const float value : block) largest = std::max(largest, std::fabs(value));
    const float scale = largest / 127;
    const float inverse = scale > 0 ? 1 / scale : 0;
    BlockQ8_0 encoded;
    const std::uint16_t half = float_to_f16(scale);
    std::memcpy(&encoded.d, &half, sizeof half);
    for (std::size_t i = 0; i < 32; ++i)
      encoded.qs[i] = static_cast<std::int8_t>(std::lround(block[i] * inverse));
    std::memcpy(to, &encoded, sizeof encoded);
    to += sizeof encoded;
  }
}

}  // namespace

void quantize_row(Dtype dtype, std::span<const float> values, std::span<std::byte> row) {
  if (row.size() != dtype_bytes(dtype, static_cast<std::int64_t>(values.size()))) {
    throw Error(concat("a ", dtype_name(dtype), " row of ", values.size(),
                       " values has another size than ", row.size(), " bytes"));
  }
  switch (dtype) {
    case Dtype::f32:
      std::memcpy(row.data(), values.data(), row.size());
      return;
    case Dtype::f16:
      return encode_halves<float_to_f16>(values, row.data());
    case Dtype::bf16:
      return encode_halves<float_to_bf16>(values, row.data());
    case Dtype::q8_0:
      return encode_q8_0(values, row.data());
    default:
      throw Error(concat("no encoder for ", dtype_name(dtype)));
  }
}

}  // namespace l2a
