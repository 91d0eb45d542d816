#include <algorithm>
#include <array>

#include "backends/cpu/kernels/kernels.h"

namespace l2a {

const CpuKernel* find_cpu_kernel(std::string_view op) {
  using namespace cpu;
  static const std::array kKernels = {
      &kAdd,        &kArgmax,    &kAttention,      &kCast,    &kConcatRows, &kCountRows,
      &kGatherRows, &kKvAppend,  &kMatmul,         &kRmsNorm, &kRope,       &kRopeTable,
      &kRoute,      &kRowLookup, &kScatterAddRows, &kSiluMul, &kTopK};
  const auto found = std::find_if(kKernels.begin(), kKernels.end(),
                                  [&](const CpuKernel* kernel) { return kernel->op == op; });
  return found == kKernels.end() ? nullptr : *found;
}

}  // namespace l2a
