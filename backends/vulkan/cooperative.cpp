#include "backends/vulkan/cooperative.h"

#include <algorithm>

#include "backends/vulkan/spirv.h"

namespace l2a::vulkan {

#if defined(VK_KHR_cooperative_matrix)

namespace {

// The tiles of matmul_cooperative.comp are made of matrices up to this size, and of steps of 32 columns.
constexpr std::uint32_t kMost = 16, kStep = 32;

bool compiled() {
  const auto all = all_spirv();
  return std::any_of(all.begin(), all.end(), [](const Spirv& one) {
    return one.name.substr(0, kCooperativeShader.size()) == kCooperativeShader;
  });
}

bool fits(const VkCooperativeMatrixPropertiesKHR& one) {
  return one.AType == VK_COMPONENT_TYPE_FLOAT16_KHR && one.BType == VK_COMPONENT_TYPE_FLOAT16_KHR &&
         one.CType == VK_COMPONENT_TYPE_FLOAT32_KHR &&
         one.ResultType == VK_COMPONENT_TYPE_FLOAT32_KHR && one.scope == VK_SCOPE_SUBGROUP_KHR &&
         one.MSize <= kMost && one.NSize <= kMost && one.MSize % 4 == 0 && one.KSize % 8 == 0 &&
         kStep % one.KSize == 0;
}

}  // namespace

MatrixShape cooperative_shape(const InstanceFunctions& functions, VkPhysicalDevice device) {
  if (!compiled() || !has_extension(functions, device, VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME)) {
    return {};
  }
  VkPhysicalDeviceCooperativeMatrixFeaturesKHR has_matrices{};
  has_matrices.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR;
  VkPhysicalDeviceVulkan12Features features12{};
  features12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  features12.pNext = &has_matrices;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &features12;
  functions.vkGetPhysicalDeviceFeatures2(device, &features);
  if (has_matrices.cooperativeMatrix == VK_FALSE || features12.shaderFloat16 == VK_FALSE ||
      features12.vulkanMemoryModelDeviceScope == VK_FALSE) {
    return {};
  }

  std::uint32_t count = 0;
  const auto enumerate = functions.vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR;
  if (enumerate(device, &count, nullptr) < 0) return {};
  VkCooperativeMatrixPropertiesKHR empty{};
  empty.sType = VK_STRUCTURE_TYPE_COOPERATIVE_MATRIX_PROPERTIES_KHR;
  std::vector<VkCooperativeMatrixPropertiesKHR> shapes(count, empty);
  if (enumerate(device, &count, shapes.data()) < 0) return {};
  MatrixShape best;
  for (const VkCooperativeMatrixPropertiesKHR& one : shapes) {
    const bool larger = one.MSize * one.NSize * one.KSize > best.m * best.n * best.k;
    if (fits(one) && larger) best = {one.MSize, one.NSize, one.KSize};
  }
  return best;
}

void* CooperativeFeatures::enable(void* next, std::vector<const char*>& extensions) {
  extensions.push_back(VK_KHR_COOPERATIVE_MATRIX_EXTENSION_NAME);
  features_.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_COOPERATIVE_MATRIX_FEATURES_KHR;
  features_.pNext = next;
  features_.cooperativeMatrix = VK_TRUE;
  return &features_;
}

#else

MatrixShape cooperative_shape(const InstanceFunctions& /*functions*/, VkPhysicalDevice /*device*/) {
  return {};
}

void* CooperativeFeatures::enable(void* next, std::vector<const char*>& /*extensions*/) {
  return next;
}

#endif

}  // namespace l2a::vulkan
