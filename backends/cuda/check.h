// Every CUDA call goes through here: what failed becomes an Error that says what was being done.
#pragma once

#include <cuda_runtime.h>

#include <string_view>

namespace l2a::cuda {

[[noreturn]] void fail(cudaError_t error, std::string_view doing);

inline void check(cudaError_t error, std::string_view doing) {
  if (error != cudaSuccess) fail(error, doing);
}

// After a launch: what the launch itself found wrong. What the kernel does wrong is seen later.
inline void check_launch(std::string_view op) { check(cudaGetLastError(), op); }

}  // namespace l2a::cuda
