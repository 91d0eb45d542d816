#include <algorithm>
#include <array>

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {

const Kernel* find_kernel(std::string_view op) {
  static const std::array kKernels = {
      &kAdd,        &kArgmax,    &kAttention,      &kCast,    &kConcatRows, &kCountRows,
      &kGatherRows, &kKvAppend,  &kMatmul,         &kRmsNorm, &kRope,       &kRopeTable,
      &kRoute,      &kRowLookup, &kScatterAddRows, &kSiluMul, &kTopK};
  const auto found = std::find_if(kKernels.begin(), kKernels.end(),
                                  [&](const Kernel* kernel) { return kernel->op == op; });
  return found == kKernels.end() ? nullptr : *found;
}

}  // namespace l2a::vulkan
