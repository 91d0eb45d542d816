// The CUDA backend: NVIDIA GPUs of compute capability 8.0 and above.
#pragma once

#include <cstddef>
#include <cstdint>
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

// What quantized weights and the activations they meet are rounded to where there are more than eight tokens. f16: what
// they stand for, activations by row. int8: both to 8 bits with a scale for every 256 values of a row, which is
// faster and coarser, and needs compute capability 9.0.
enum class PrefillPrecision : std::uint8_t { f16, int8 };

struct CudaOptions {
  int device = 0;
  PrefillPrecision prefill = PrefillPrecision::f16;
};

// Throws Error that says why where it cannot be had: no driver, a driver older than this build's
// toolkit, no such device, a device that is too old or too young for what is asked of it.
std::shared_ptr<Backend> make_cuda_backend(const CudaOptions& options = {});

}  // namespace l2a
