// Plain encoders of the types that caches hold. Decoding is dequantize.h; encoders that search for
// the best scales of the other types are in convert/encode/.
#pragma once

#include <cstddef>
#include <span>

#include "graph/dtype.h"

namespace l2a {

// Encodes `values` (one row or several, a whole number of blocks) into `out`, which has exactly
// dtype_bytes(dtype, values.size()) bytes. For f32, f16, bf16 (nearest, ties to even) and q8_0.
// Throws Error for another dtype or a wrong size. Values are taken as finite.
//
// q8_0: blocks of 32 values. d = max|x| / 127 as f16, then 32 int8 of x / d, to nearest; x / d uses
// d before it is rounded to f16, as the ecosystem's encoder does, so that files are equal byte for
// byte.
void quantize_row(Dtype dtype, std::span<const float> values, std::span<std::byte> out);

}  // namespace l2a
