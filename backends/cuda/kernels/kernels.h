// Every kernel of the CUDA backend; each is defined in the file of its name.
#pragma once

#include "backends/cuda/kernel.h"

namespace l2a::cuda {

extern const CudaKernel kAdd, kArgmax, kAttention, kCast, kConcatRows, kCountRows, kGatherRows,
    kKvAppend, kMatmul, kRmsNorm, kRope, kRopeTable, kRoute, kRowLookup, kScatterAddRows, kSiluMul,
    kTopK;

}  // namespace l2a::cuda
