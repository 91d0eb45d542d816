// Encoding rows of floats into the types of GGUF files, with a search for the scales that lose
// least. Decoding is ops/dequantize.h; the plain encoders that caches use are ops/quantize.h.
//
// The bytes depend on nothing but the arguments: not on the machine, its instruction set, or how
// rows are spread over calls and threads. Callers spread them: a call uses one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "graph/dtype.h"
#include "graph/simd_level.h"

namespace l2a {

// Encodes whole rows of `row_length` values into `out`, which has exactly their size. For every
// dtype but i32.
//
// f32, f16, bf16 and q8_0 are those of quantize_row. The others minimise the sum of
//   importance · (2 · rms + |x|) · error²
// where rms is that of the few values that share a scale: the larger weights of a row move its
// outputs more, in proportion to inputs that nothing is known of. `importance` has a factor of no
// less than 0 for each column, usually the mean square of what it is multiplied with (an
// "imatrix"), or is empty for 1 everywhere; only ratios matter.
//
// Throws Error for wrong sizes, a value or importance that is infinite or NaN, and values so large
// that their scale is beyond f16. Blocks of values too small for any f16 scale become zeros.
void encode_rows(Dtype dtype, std::span<const float> values, std::int64_t row_length,
                 std::span<const float> importance, std::span<std::byte> out,
                 SimdLevel level = best_simd_level());

// The largest magnitude that still rounds to a finite stored value. Of types whose scales are
// searched for this is no exact number; encode_rows finds out.
float largest_storable(Dtype dtype);

}  // namespace l2a
