#include <algorithm>
#include <array>

#include "backends/cuda/kernels/kernels.h"

namespace l2a::cuda {

const CudaKernel* find_cuda_kernel(std::string_view op) {
  static const std::array kKernels = {
      &kAdd,        &kArgmax,    &kAttention,      &kCast,    &kConcatRows, &kCountRows,
      &kGatherRows, &kKvAppend,  &kMatmul,         &kRmsNorm, &kRope,       &kRopeTable,
      &kRoute,      &kRowLookup, &kScatterAddRows, &kSiluMul, &kTopK};
  const auto found = std::find_if(kKernels.begin(), kKernels.end(),
                                  [&](const CudaKernel* kernel) { return kernel->op == op; });
  return found == kKernels.end() ? nullptr : *found;
}

}  // namespace l2a::cuda
