// What a GPU does at most, measured: what speeds are held against.
#pragma once

#include "backends/cuda/kernel.h"
#include "graph/backend.h"

namespace l2a::cuda {

// Takes up to 2 GiB of the device's memory for a fraction of a second.
Limits measure_cuda_limits(const DeviceTraits& device, cudaStream_t stream);

}  // namespace l2a::cuda
