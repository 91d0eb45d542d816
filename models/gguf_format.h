// Numbers of the GGUF format that its reader and its writer share.
// Source: the GGUF specification, docs/gguf.md of the ggml project.
#pragma once

#include <bit>
#include <cstdint>
#include <optional>
#include <string_view>

#include "graph/dtype.h"

namespace l2a {

static_assert(std::endian::native == std::endian::little,
              "GGUF is read and written in place, little endian");

inline constexpr std::string_view kGgufMagic = "GGUF";
inline constexpr std::uint32_t kGgufVersion = 3;
inline constexpr std::uint64_t kGgufDefaultAlignment = 32;
inline constexpr std::uint64_t kGgufMaxDimensions = 4;
inline constexpr std::string_view kGgufAlignmentKey = "general.alignment";
inline constexpr std::string_view kTensorHashesKey = "l2a.tensor_xxh3";

enum class GgufType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};
inline constexpr std::uint32_t kGgufTypeCount = 13;

// The number that stands for a dtype in a tensor's entry.
std::uint32_t gguf_tensor_type(Dtype dtype);
// Nothing for a number that has no dtype here.
std::optional<Dtype> dtype_from_gguf(std::uint32_t tensor_type);

// Rounds up; `alignment` is a power of two. The caller checks that there is room to round up.
inline std::uint64_t align_up(std::uint64_t value, std::uint64_t alignment) {
  return (value + alignment - 1) & ~(alignment - 1);
}

}  // namespace l2a
