// Element types. Quantized types pack `block_elements` values into `block_bytes` bytes; the layouts
// are GGUF's (ops/blocks.h). Rows of a quantized tensor are whole numbers of blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace l2a {

enum class Dtype : std::uint8_t {
  f32,
  f16,
  bf16,
  i32,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q4_k,
  q5_k,
  q6_k,
};
inline constexpr int kDtypeCount = 12;

struct DtypeInfo {
  std::string_view name;        // lower case: "q4_k"
  std::int64_t block_elements;  // 1 for plain types
  std::int64_t block_bytes;
  bool quantized;
};

const DtypeInfo& dtype_info(Dtype dtype);
inline std::string_view dtype_name(Dtype dtype) { return dtype_info(dtype).name; }

// The dtype of that name, in either case; nothing if there is none.
std::optional<Dtype> dtype_from_name(std::string_view name);

// Bytes of `elements` consecutive values. Throws Error if they are not a whole number of blocks,
// are negative, or the product overflows.
std::size_t dtype_bytes(Dtype dtype, std::int64_t elements);

}  // namespace l2a
