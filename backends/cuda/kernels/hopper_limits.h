// What Hopper multiplies at most.
#pragma once

#include "backends/cuda/kernel.h"

namespace l2a::cuda {

// Where device.hopper(): launches products of f16 and returns how many operations they are.
double run_hopper_products(const DeviceTraits& device, float* out, cudaStream_t stream);

}  // namespace l2a::cuda
