#include "ops/quantize.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "graph/error.h"
#include "graph/half.h"

namespace l2a {
namespace {

constexpr std::size_t kQ8BlockElements = 32;
constexpr std::size_t kQ8BlockBytes = 34;

void quantize_q8_0_block(const float* values, std::byte* out) {
  float largest = 0.0f;
  for (std::size_t i = 0; i < kQ8BlockElements; ++i) {
    largest = std::max(largest, std::fabs(values[i]));
  }
  const float scale = largest / 127.0f;
  const float inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
  const std::uint16_t stored = float_to_f16(scale);
  std::memcpy(out, &stored, sizeof stored);
  for (std::size_t i = 0; i < kQ8BlockElements; ++i) {
    // A block of subnormals has a scale whose inverse overflows; it is zero in f16 and so are its
    // values.
    const float code = std::isfinite(inverse) ? std::round(values[i] * inverse) : 0.0f;
    out[sizeof stored + i] = static_cast<std::byte>(static_cast<std::int8_t>(code));
  }
}

template <class Encode>
void encode_16(std::span<const float> values, std::byte* out, Encode encode) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint16_t encoded = encode(values[i]);
    std::memcpy(out + i * sizeof encoded, &encoded, sizeof encoded);
  }
}

}  // namespace

void quantize_row(Dtype dtype, std::span<const float> values, std::span<std::byte> out) {
  if (out.size() != dtype_bytes(dtype, static_cast<std::int64_t>(values.size()))) {
    throw Error(concat("quantize_row: ", values.size(), " ", dtype_name(dtype),
                       " values do not take ", out.size(), " bytes"));
  }
  switch (dtype) {
    case Dtype::f32:
      std::ranges::copy(std::as_bytes(values), out.begin());
      return;
    case Dtype::f16:
      encode_16(values, out.data(), float_to_f16);
      return;
    case Dtype::bf16:
      encode_16(values, out.data(), float_to_bf16);
      return;
    case Dtype::q8_0:
      for (std::size_t block = 0; block < values.size() / kQ8BlockElements; ++block) {
        quantize_q8_0_block(values.data() + block * kQ8BlockElements,
                            out.data() + block * kQ8BlockBytes);
      }
      return;
    default:
      throw Error(concat("quantize_row: ", dtype_name(dtype), " cannot be encoded"));
  }
}

}  // namespace l2a
