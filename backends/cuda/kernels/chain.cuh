// Kernels of a chain: on Hopper and later the next kernel's blocks start while this one's last ones run, bring what does
// not depend on it (weights), and wait for it before they touch anything else (programmatic dependent launch).
//
// Every block of a chained kernel calls wait_for_earlier(), also one with nothing to do: the kernel after it relies on
// that for all that came before.
#pragma once

#include <cuda_runtime.h>

#include <utility>

#include "backends/cuda/check.h"

namespace l2a::cuda {

__device__ inline void wait_for_earlier() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
__device__ inline void let_later_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

struct ChainLaunch {
  dim3 grid, block;
  std::size_t shared_bytes = 0;
  cudaStream_t stream = nullptr;
  bool chained = false;  // the device can
};

template <class... Parameters, class... Arguments>
void launch_chained(const ChainLaunch& launch, void (*kernel)(Parameters...),
                    Arguments&&... arguments) {
  // All with the largest share of shared memory: a multiprocessor that has to change the share first waits until it is
  // empty, and nothing overlaps.
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                             cudaSharedmemCarveoutMaxShared),
        "launching a kernel");
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = launch.grid;
  config.blockDim = launch.block;
  config.dynamicSmemBytes = launch.shared_bytes;
  config.stream = launch.stream;
  config.attrs = &attribute;
  config.numAttrs = launch.chained ? 1 : 0;
  check(cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...),
        "launching a kernel");
}

}  // namespace l2a::cuda
