// Products of many tokens by cooperative matrices (shaders/matmul_cooperative.comp).
#pragma once

#include "backends/vulkan/kernel.h"

namespace l2a::vulkan {

// Whether the device and the call's operands allow it: weights of at most 16 bits in whole steps.
bool cooperative_takes(const Call& matmul);
// Of the activations as f16, and their scales.
std::size_t cooperative_workspace(const Call& matmul);
void record_cooperative(const Call& matmul);

}  // namespace l2a::vulkan
