// Element-wise kernels and reductions of f32 rows, and the quantization of activations; what each
// does is said at SimdKernels (simd.h). AVX2 serves AVX-512 machines too: these are bound by memory
// or run once a row.
#pragma once

#include "backends/cpu/simd.h"

namespace l2a {

// Fills in the entries of the table that are not dot products.
void set_vector_ops(SimdLevel level, SimdKernels& kernels);

}  // namespace l2a
