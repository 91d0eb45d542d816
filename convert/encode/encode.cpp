#include "convert/encode/encode.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "convert/encode/block.h"
#include "convert/encode/families.h"
#include "graph/error.h"
#include "ops/quantize.h"

namespace l2a {
namespace {

encode::EncodeBlock searching_encoder(Dtype dtype) {
  switch (dtype) {
    case Dtype::q4_0:
    case Dtype::q4_1:
    case Dtype::q5_0:
    case Dtype::q5_1:
      return encode::blocks32_encoder(dtype);
    case Dtype::q4_k:
    case Dtype::q5_k:
      return encode::k_affine_encoder(dtype);
    case Dtype::q6_k:
      return encode::q6_k_encoder();
    default:
      return nullptr;
  }
}

void check_sizes(Dtype dtype, std::size_t values, std::int64_t row_length, std::size_t importance,
                 std::size_t bytes) {
  const std::int64_t elements = dtype_info(dtype).block_elements;
  if (row_length <= 0 || row_length % elements != 0) {
    throw Error(concat("encode_rows: rows of ", row_length, " are not whole ", dtype_name(dtype),
                       " blocks of ", elements));
  }
  const auto length = static_cast<std::size_t>(row_length);
  if (values % length != 0) {
    throw Error(concat("encode_rows: ", values, " values are not whole rows of ", row_length));
  }
  if (importance != 0 && importance != length) {
    throw Error(concat("encode_rows: ", importance, " importances for rows of ", row_length));
  }
  const std::size_t expected = dtype_bytes(dtype, static_cast<std::int64_t>(values));
  if (bytes != expected) {
    throw Error(concat("encode_rows: ", values, " ", dtype_name(dtype), " values take ", expected,
                       " bytes, not ", bytes));
  }
}

void check_values(Dtype dtype, std::span<const float> values) {
  const float limit = largest_storable(dtype);
  // Written so that NaN is beyond it too.
  const auto beyond = [&](float value) { return !(std::fabs(value) <= limit); };
  if (beyond(encode::largest_magnitude(values.data(), static_cast<std::int64_t>(values.size())))) {
    throw Error(concat("encode_rows: ", dtype_name(dtype), " cannot hold ",
                       *std::ranges::find_if(values, beyond)));
  }
}

// Importances with mean 1. None falls to 0: a column that no input has reached so far still
// deserves the nearest codes, and its block a solvable equation. Empty when all are 0.
std::vector<float> normalized(std::span<const float> importance) {
  constexpr float kLeast = 1e-4f;
  double sum = 0.0;
  for (const float factor : importance) {
    if (!(factor >= 0.0f && std::isfinite(factor))) {
      throw Error(concat("encode_rows: an importance is ", factor,
                         "; finite numbers of no less than 0 were expected"));
    }
    sum += factor;
  }
  std::vector<float> out;
  if (sum > 0.0) {
    const double mean = sum / static_cast<double>(importance.size());
    out.reserve(importance.size());
    for (const float factor : importance) {
      out.push_back(std::max(static_cast<float>(factor / mean), kLeast));
    }
  }
  return out;
}

}  // namespace

void encode_rows(Dtype dtype, std::span<const float> values, std::int64_t row_length,
                 std::span<const float> importance, std::span<std::byte> out, SimdLevel level) {
  check_sizes(dtype, values.size(), row_length, importance.size(), out.size());
  const std::vector<float> factors = normalized(importance);
  check_values(dtype, values);
  const encode::EncodeBlock encode_block = searching_encoder(dtype);
  if (encode_block == nullptr) {
    quantize_row(dtype, values, out);
    return;
  }
  const encode::GridSearch& search = encode::grid_search(level);
  const auto elements = static_cast<std::size_t>(dtype_info(dtype).block_elements);
  const auto bytes = static_cast<std::size_t>(dtype_info(dtype).block_bytes);
  std::byte* block = out.data();
  for (std::size_t i = 0; i < values.size(); i += elements, block += bytes) {
    const std::size_t column = i % static_cast<std::size_t>(row_length);
    encode_block(search, values.data() + i, factors.empty() ? nullptr : factors.data() + column,
                 block);
  }
}

float largest_storable(Dtype dtype) {
  constexpr float kF16Limit = 65519.996f;  // 65520 and above round to infinity
  switch (dtype) {
    case Dtype::f16:
      return kF16Limit;
    case Dtype::q8_0:
      return kF16Limit * 127.0f;  // the scale is max|x| / 127 in f16
    case Dtype::bf16:
      return 0x1.fefffep127f;  // the last float below the midpoint to infinity
    default:
      return std::numeric_limits<float>::max();
  }
}

}  // namespace l2a
