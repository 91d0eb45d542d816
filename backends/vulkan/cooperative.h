// Cooperative matrices: products of small matrices that a subgroup computes together, where the headers and the
// shader compiler of the build know them and the device has them.
#pragma once

#include "backends/vulkan/instance.h"

namespace l2a::vulkan {

// The shape that products of f16 with sums in f32 take best; nothing in it where there are none.
MatrixShape cooperative_shape(const InstanceFunctions& functions, VkPhysicalDevice device);

// What a device is opened with to have them.
class CooperativeFeatures {
 public:
  // Puts the features before `next`, and the extension among those wanted.
  void* enable(void* next, std::vector<const char*>& extensions);

 private:
#if defined(VK_KHR_cooperative_matrix)
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR features_{};
#endif
};

}  // namespace l2a::vulkan
