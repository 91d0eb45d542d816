#include "backends/cuda/handles.h"

#include <cstdint>

#include "graph/error.h"

namespace l2a::cuda {

DeviceMemory allocate_device(std::size_t bytes) {
  constexpr std::size_t kRound = 256;
  void* data = nullptr;
  const std::size_t rounded = bytes > SIZE_MAX - kRound ? bytes : (bytes / kRound + 1) * kRound;
  const cudaError_t error = cudaMalloc(&data, rounded);
  if (error == cudaErrorMemoryAllocation) {
    static_cast<void>(cudaGetLastError());  // not sticky: the device works on
    std::size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for free memory");
    throw Error(concat("the GPU has no room for ", bytes, " bytes more: ", free, " of its ", total,
                       " are free"));
  }
  check(error, "allocating device memory");
  return DeviceMemory(data);
}

PinnedMemory allocate_pinned(std::size_t bytes) {
  void* data = nullptr;
  check(cudaMallocHost(&data, bytes), "allocating pinned host memory");
  return PinnedMemory(data);
}

}  // namespace l2a::cuda
