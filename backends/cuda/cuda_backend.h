// The CUDA backend: NVIDIA GPUs of compute capability 8.0 and above.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "graph/backend.h"

namespace l2a {

struct CudaDevice {
  int index = 0;
  std::string name;
  int major = 0, minor = 0;  // compute capability
  int multiprocessors = 0;
  std::size_t total_bytes = 0, free_bytes = 0;
};

// What this machine has; empty where there is no device or no driver.
std::vector<CudaDevice> list_cuda_devices();

struct CudaOptions {
  int device = 0;
};

// Throws Error that says why where it cannot be had: no driver, a driver older than this build's
// toolkit, no such device, a device that is too old.
std::shared_ptr<Backend> make_cuda_backend(const CudaOptions& options = {});

}  // namespace l2a
