// Encoders: float rows to the dtypes that files and caches hold.
#pragma once

#include <cstddef>
#include <span>

#include "graph/dtype.h"

namespace l2a {

// Encodes `values` as f32, f16, bf16 (round to nearest even) or q8_0 (scale max|x|/127, values rounded to nearest).
// `row` must be dtype_bytes(dtype, values.size()) bytes. Throws Error for other dtypes.
void quantize_row(Dtype dtype, std::span<const float> values, std::span<std::byte> row);

}  // namespace l2a
