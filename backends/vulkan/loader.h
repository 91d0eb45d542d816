// Vulkan's functions, looked up at run time: nothing links with the loader.
#pragma once

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan.h>

namespace l2a::vulkan {

// Each list becomes the members of a table and the code that fills it.
#define L2A_VULKAN_GLOBAL_FUNCTIONS(X) \
  X(vkCreateInstance)                  \
  X(vkEnumerateInstanceLayerProperties)

#define L2A_VULKAN_INSTANCE_FUNCTIONS(X)  \
  X(vkCreateDebugUtilsMessengerEXT)       \
  X(vkCreateDevice)                       \
  X(vkDestroyDebugUtilsMessengerEXT)      \
  X(vkDestroyInstance)                    \
  X(vkEnumerateDeviceExtensionProperties) \
  X(vkEnumeratePhysicalDevices)           \
  X(vkGetDeviceProcAddr)                  \
  X(vkGetPhysicalDeviceFeatures2)         \
  X(vkGetPhysicalDeviceMemoryProperties2) \
  X(vkGetPhysicalDeviceProperties)        \
  X(vkGetPhysicalDeviceProperties2)       \
  X(vkGetPhysicalDeviceQueueFamilyProperties)

#define L2A_VULKAN_DEVICE_FUNCTIONS(X) \
  X(vkAllocateCommandBuffers)          \
  X(vkAllocateMemory)                  \
  X(vkBeginCommandBuffer)              \
  X(vkBindBufferMemory)                \
  X(vkCmdBindPipeline)                 \
  X(vkCmdCopyBuffer)                   \
  X(vkCmdDispatch)                     \
  X(vkCmdDispatchIndirect)             \
  X(vkCmdFillBuffer)                   \
  X(vkCmdPipelineBarrier)              \
  X(vkCmdPushConstants)                \
  X(vkCmdResetQueryPool)               \
  X(vkCmdWriteTimestamp)               \
  X(vkCreateBuffer)                    \
  X(vkCreateCommandPool)               \
  X(vkCreateComputePipelines)          \
  X(vkCreatePipelineCache)             \
  X(vkCreatePipelineLayout)            \
  X(vkCreateQueryPool)                 \
  X(vkCreateSemaphore)                 \
  X(vkCreateShaderModule)              \
  X(vkDestroyBuffer)                   \
  X(vkDestroyCommandPool)              \
  X(vkDestroyDevice)                   \
  X(vkDestroyPipeline)                 \
  X(vkDestroyPipelineCache)            \
  X(vkDestroyPipelineLayout)           \
  X(vkDestroyQueryPool)                \
  X(vkDestroySemaphore)                \
  X(vkDestroyShaderModule)             \
  X(vkEndCommandBuffer)                \
  X(vkFreeMemory)                      \
  X(vkGetBufferDeviceAddress)          \
  X(vkGetBufferMemoryRequirements)     \
  X(vkGetDeviceQueue)                  \
  X(vkGetPipelineCacheData)            \
  X(vkGetQueryPoolResults)             \
  X(vkGetSemaphoreCounterValue)        \
  X(vkMapMemory)                       \
  X(vkQueueSubmit)                     \
  X(vkResetCommandPool)                \
  X(vkWaitSemaphores)

// Where the headers know it.
#if defined(VK_KHR_cooperative_matrix)
#define L2A_VULKAN_COOPERATIVE_FUNCTIONS(X) X(vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR)
#else
#define L2A_VULKAN_COOPERATIVE_FUNCTIONS(X)
#endif

#define L2A_VULKAN_MEMBER(name) PFN_##name name = nullptr;

// Found by the loader before there is an instance; one for the process, which never closes the library.
struct GlobalFunctions {
  PFN_vkGetInstanceProcAddr vkGetInstanceProcAddr = nullptr;
  L2A_VULKAN_GLOBAL_FUNCTIONS(L2A_VULKAN_MEMBER)
};
// Throws Error when there is no loader.
const GlobalFunctions& global_functions();

struct InstanceFunctions {
  L2A_VULKAN_INSTANCE_FUNCTIONS(L2A_VULKAN_MEMBER)
  L2A_VULKAN_COOPERATIVE_FUNCTIONS(L2A_VULKAN_MEMBER)
};
InstanceFunctions load_instance_functions(VkInstance instance);

struct DeviceFunctions {
  L2A_VULKAN_DEVICE_FUNCTIONS(L2A_VULKAN_MEMBER)
};
DeviceFunctions load_device_functions(const InstanceFunctions& instance, VkDevice device);

#undef L2A_VULKAN_MEMBER

}  // namespace l2a::vulkan
