// What a plan's outputs hold, as plain numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "graph/plan.h"
#include "ops/dequantize.h"

namespace l2a::test {

// The first `count` values of a contiguous tensor's bytes.
inline std::vector<double> decode_values(Dtype dtype, std::span<const std::byte> bytes,
                                         std::int64_t count) {
  if (dtype == Dtype::i32) {
    const auto* from = reinterpret_cast<const std::int32_t*>(bytes.data());
    return {from, from + count};
  }
  std::vector<float> floats(static_cast<std::size_t>(count));
  dequantize_row(dtype, bytes.first(dtype_bytes(dtype, count)), floats);
  return {floats.begin(), floats.end()};
}

// An output's values after a run: of a Rows its count and indices, of a compact tensor the rows that
// exist (its Rows must be an output too).
inline std::vector<double> output_values(const Plan& plan, Tensor output) {
  auto read = [&](ValueId id) {
    const ValueInfo& info = plan.graph().value(id).info;
    std::vector<std::byte> bytes(dtype_bytes(info.dtype, info.shape.elements()));
    plan.read(Tensor{id}, std::span<std::byte>(bytes));
    return bytes;
  };
  const ValueInfo& info = plan.graph().value(output.id).info;
  const std::vector<std::byte> bytes = read(output.id);
  auto leading_count = [](std::span<const std::byte> rows) {
    return static_cast<std::int64_t>(decode_values(Dtype::i32, rows, 1)[0]);
  };
  std::int64_t count = info.shape.elements();
  if (info.is_rows) count = 1 + leading_count(bytes);
  if (info.compact()) count = count / info.shape[0] * leading_count(read(info.rows));
  return decode_values(info.dtype, bytes, count);
}

}  // namespace l2a::test
