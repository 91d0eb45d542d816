// What a device does at most, measured: the denominator of every speed on it.
#pragma once

#include "backends/vulkan/pipelines.h"
#include "graph/backend.h"

namespace l2a::vulkan {

// Takes a fraction of a second.
Limits measure_limits(const std::shared_ptr<Device>& device, Pipelines& pipelines);

}  // namespace l2a::vulkan
