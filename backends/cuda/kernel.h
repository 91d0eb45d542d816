// What a CUDA kernel is to the backend, and what it is given.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "backends/cuda/check.h"
#include "backends/cuda/cuda_backend.h"
#include "graph/op.h"

namespace l2a::cuda {

struct DeviceTraits {
  int multiprocessors = 0;
  int major = 0, minor = 0;
  int shared_bytes = 0;  // of shared memory, that the blocks of a multiprocessor share
  PrefillPrecision prefill = PrefillPrecision::f16;  // what was asked of it; int8 only of hopper()

  bool chains() const { return major >= 9; }  // kernels/chain.cuh
  // Runs the kernels of wgmma and TMA. They are machine code for 9.0 alone; PTX for later devices has none.
  bool hopper() const {
#ifdef L2A_CUDA_HOPPER
    return major == 9;
#else
    return false;
#endif
  }
};

inline DeviceTraits traits_of(const cudaDeviceProp& device) {
  return {device.multiProcessorCount, device.major, device.minor,
          static_cast<int>(device.sharedMemPerMultiprocessor), PrefillPrecision::f16};
}

// Words that are zero between kernels: who uses one puts it back to zero.
constexpr std::size_t kCounters = 16384;

struct CudaCall {
  const Op& op;
  std::span<const TensorView> inputs;  // data are device addresses, here and below
  TensorView output;
  DeviceTraits device;
  cudaStream_t stream = nullptr;
  std::byte* workspace = nullptr;     // 256-byte aligned; as many bytes as the kernel asked for
  std::uint32_t* counters = nullptr;  // kCounters

  template <class T>
  const T& attributes() const {
    return static_cast<const T&>(op);
  }
  // An input that is there, or null.
  template <class T>
  const T* in(int index) const {
    return reinterpret_cast<const T*>(inputs[static_cast<std::size_t>(index)].data);
  }
  template <class T>
  T* out() const {
    return reinterpret_cast<T*>(output.data);
  }
};

struct CudaKernel {
  std::string_view op;
  void (*run)(const CudaCall& call);
  // Scratch bytes for such a call; null: none.
  std::size_t (*workspace_bytes)(const CudaCall& call) = nullptr;
  // Null: every call that the op itself allows.
  bool (*supports)(const Op& op, std::span<const ValueInfo> inputs) = nullptr;
};

// The kernel of an op, or null.
const CudaKernel* find_cuda_kernel(std::string_view op);

}  // namespace l2a::cuda
