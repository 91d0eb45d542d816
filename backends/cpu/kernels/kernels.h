// Every kernel of the CPU backend; each is defined in the file of its name.
#pragma once

#include "backends/cpu/kernel.h"

namespace l2a::cpu {

extern const CpuKernel kAdd, kArgmax, kAttention, kCast, kConcatRows, kCountRows, kGatherRows,
    kKvAppend, kMatmul, kRmsNorm, kRope, kRopeTable, kRoute, kRowLookup, kScatterAddRows, kSiluMul,
    kTopK;

}  // namespace l2a::cpu
