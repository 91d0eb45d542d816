// The plain meaning of every floating and quantized dtype: what each stored row is worth in float.
// Reference code, written to be read; kernels with their own unpacking are tested against it.
#pragma once

#include <cstddef>
#include <span>

#include "graph/dtype.h"

namespace l2a {

// Expands a row of stored values. `row` must be exactly dtype_bytes(dtype, out.size()) long; i32
// has no float meaning. Throws Error when either does not hold.
void dequantize_row(Dtype dtype, std::span<const std::byte> row, std::span<float> out);

}  // namespace l2a
