// Every kernel of the Vulkan backend; each is defined in the file of its name or family.
#pragma once

#include <string>

#include "backends/vulkan/kernel.h"
#include "graph/error.h"

namespace l2a::vulkan {

extern const Kernel kAdd, kArgmax, kAttention, kCast, kConcatRows, kCountRows, kGatherRows,
    kKvAppend, kMatmul, kRmsNorm, kRope, kRopeTable, kRoute, kRowLookup, kScatterAddRows, kSiluMul,
    kTopK;

// "matmul_q8_0": a shader that there is for every dtype of weights.
inline std::string shader_for(std::string_view family, Dtype dtype) {
  return concat(family, "_", dtype_name(dtype));
}

// kRowKind of shaders/weights.glsl.
inline std::uint32_t row_kind(bool aligned, bool split) {
  return (aligned ? 1u : 0u) | (split ? 2u : 0u);
}

// How many parts the keys of an attention of `groups` workgroups are split into, so that the device has enough
// of them. window 0: all keys are seen.
std::uint32_t attention_parts(const Tuning& tuning, std::uint32_t groups, std::int64_t capacity,
                              std::int64_t window);

// Whether rows of `width` floats at all these addresses can be loaded four values at a time.
template <class... Addresses>
std::uint32_t vector_rows(std::uint32_t width, Addresses... addresses) {
  return width % 4 == 0 && ((addresses % 16 == 0) && ...) ? 1 : 0;
}

// The grid of a kernel whose lanes each take `each` of a row's elements, with y along the rows.
inline Grid row_grid(const Call& call, std::uint32_t width, std::uint32_t each, std::uint32_t rows,
                     ValueId rows_id) {
  return {.x = ceil_div(width, std::uint64_t{each} * call.tuning().workgroup),
          .y = rows,
          .rows = rows_id};
}

}  // namespace l2a::vulkan
