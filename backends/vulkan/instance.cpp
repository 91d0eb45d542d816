#include "backends/vulkan/instance.h"

#include <algorithm>
#include <cstring>

#include "backends/vulkan/cooperative.h"
#include "graph/error.h"

namespace l2a::vulkan {
namespace {

constexpr const char* kValidationLayer = "VK_LAYER_KHRONOS_validation";

const char* reason(VkResult result) {
  switch (result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
      return "out of host memory";
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
      return "out of device memory";
    case VK_ERROR_INITIALIZATION_FAILED:
      return "initialization failed";
    case VK_ERROR_DEVICE_LOST:
      return "the device was lost (it hung, was reset, or was removed)";
    case VK_ERROR_LAYER_NOT_PRESENT:
      return "a layer is not installed";
    case VK_ERROR_EXTENSION_NOT_PRESENT:
      return "an extension is missing";
    case VK_ERROR_FEATURE_NOT_PRESENT:
      return "a feature is missing";
    case VK_ERROR_TOO_MANY_OBJECTS:
      return "too many allocations";
    default:
      return nullptr;
  }
}

VKAPI_ATTR VkBool32 VKAPI_CALL receive(VkDebugUtilsMessageSeverityFlagBitsEXT /*severity*/,
                                       VkDebugUtilsMessageTypeFlagsEXT /*types*/,
                                       const VkDebugUtilsMessengerCallbackDataEXT* data,
                                       void* user) {
  static_cast<std::vector<std::string>*>(user)->emplace_back(data->pMessage);
  return VK_FALSE;
}

void require_validation_layer() {
  std::uint32_t count = 0;
  const auto enumerate = global_functions().vkEnumerateInstanceLayerProperties;
  check(enumerate(&count, nullptr), "vulkan", "listing layers");
  std::vector<VkLayerProperties> layers(count);
  check(enumerate(&count, layers.data()), "vulkan", "listing layers");
  const bool found = std::any_of(layers.begin(), layers.end(), [](const VkLayerProperties& layer) {
    return std::strcmp(layer.layerName, kValidationLayer) == 0;
  });
  if (!found) {
    throw Error(concat("vulkan: ", kValidationLayer,
                       " is not installed; on Debian it is the package vulkan-validationlayers"));
  }
}

// Collects names of what is not there.
class Needs {
 public:
  void need(bool present, const char* name) {
    if (present) return;
    if (!missing_.empty()) missing_ += ", ";
    missing_ += name;
  }
  const std::string& missing() const { return missing_; }

 private:
  std::string missing_;
};

}  // namespace

void check(VkResult result, const std::string& where, const char* what) {
  if (result >= 0) return;
  const char* known = reason(result);
  throw Error(concat(
      where, ": ", what, ": ",
      known != nullptr ? std::string(known) : concat("Vulkan error ", static_cast<int>(result))));
}

Instance::Instance(std::vector<std::string>* messages) {
  const GlobalFunctions& global = global_functions();
  VkApplicationInfo application{};
  application.sType = VK_STRUCTURE_TYPE_APPLICATION_INFO;
  application.pApplicationName = "l2a";
  application.apiVersion = VK_API_VERSION_1_2;
  VkInstanceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO;
  info.pApplicationInfo = &application;

  VkDebugUtilsMessengerCreateInfoEXT messenger{};
  messenger.sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT;
  messenger.messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                              VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT;
  messenger.messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                          VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT;
  messenger.pfnUserCallback = receive;
  messenger.pUserData = messages;
  const char* extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
  const char* layer = kValidationLayer;
  if (messages != nullptr) {
    require_validation_layer();
    info.pNext = &messenger;
    info.enabledLayerCount = 1;
    info.ppEnabledLayerNames = &layer;
    info.enabledExtensionCount = 1;
    info.ppEnabledExtensionNames = &extension;
  }
  const VkResult started = global.vkCreateInstance(&info, nullptr, &instance_);
  if (started == VK_ERROR_INCOMPATIBLE_DRIVER) {
    throw Error("vulkan: there is no driver of a Vulkan device here");
  }
  check(started, "vulkan", "starting");
  functions_ = load_instance_functions(instance_);
  if (messages == nullptr) return;
  check(functions_.vkCreateDebugUtilsMessengerEXT(instance_, &messenger, nullptr, &messenger_),
        "vulkan", "starting validation");
}

Instance::~Instance() {
  if (messenger_ != VK_NULL_HANDLE) {
    functions_.vkDestroyDebugUtilsMessengerEXT(instance_, messenger_, nullptr);
  }
  functions_.vkDestroyInstance(instance_, nullptr);
}

std::vector<VkPhysicalDevice> Instance::physical_devices() const {
  std::uint32_t count = 0;
  check(functions_.vkEnumeratePhysicalDevices(instance_, &count, nullptr), "vulkan",
        "listing devices");
  std::vector<VkPhysicalDevice> devices(count);
  check(functions_.vkEnumeratePhysicalDevices(instance_, &count, devices.data()), "vulkan",
        "listing devices");
  devices.resize(count);
  return devices;
}

bool has_extension(const InstanceFunctions& functions, VkPhysicalDevice device, const char* name) {
  std::uint32_t count = 0;
  functions.vkEnumerateDeviceExtensionProperties(device, nullptr, &count, nullptr);
  std::vector<VkExtensionProperties> extensions(count);
  functions.vkEnumerateDeviceExtensionProperties(device, nullptr, &count, extensions.data());
  return std::any_of(extensions.begin(), extensions.end(), [&](const VkExtensionProperties& one) {
    return std::strcmp(one.extensionName, name) == 0;
  });
}

PhysicalDevice inspect(const InstanceFunctions& functions, VkPhysicalDevice handle) {
  PhysicalDevice device;
  device.handle = handle;
  functions.vkGetPhysicalDeviceProperties(handle, &device.properties);
  const std::uint32_t version = device.properties.apiVersion;
  Needs needs;
  needs.need(version >= VK_API_VERSION_1_2, "Vulkan 1.2");
  if (version < VK_API_VERSION_1_2) {
    device.missing = needs.missing();
    return device;  // what follows cannot even be asked
  }
  const bool has_size_control =
      has_extension(functions, handle, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);
  needs.need(has_size_control, VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME);

  VkPhysicalDeviceSubgroupSizeControlPropertiesEXT sizes{};
  sizes.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_PROPERTIES_EXT;
  const bool has_integer_dot =
      has_extension(functions, handle, VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
  VkPhysicalDeviceShaderIntegerDotProductPropertiesKHR dots{};
  dots.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_PROPERTIES_KHR;
  if (has_size_control) dots.pNext = &sizes;
  VkPhysicalDeviceShaderSMBuiltinsPropertiesNV processors{};
  processors.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_SM_BUILTINS_PROPERTIES_NV;
  processors.pNext = has_integer_dot ? static_cast<void*>(&dots) : dots.pNext;
  VkPhysicalDeviceSubgroupProperties subgroup{};
  subgroup.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_PROPERTIES;
  subgroup.pNext = has_extension(functions, handle, VK_NV_SHADER_SM_BUILTINS_EXTENSION_NAME)
                       ? static_cast<void*>(&processors)
                       : processors.pNext;
  VkPhysicalDeviceMaintenance3Properties limits{};
  limits.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_3_PROPERTIES;
  limits.pNext = &subgroup;
  VkPhysicalDeviceProperties2 properties{};
  properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
  properties.pNext = &limits;
  functions.vkGetPhysicalDeviceProperties2(handle, &properties);
  device.max_allocation = limits.maxMemoryAllocationSize;
  device.subgroup_size = subgroup.subgroupSize;
  device.multiprocessors = processors.shaderSMCount;

  VkPhysicalDeviceSubgroupSizeControlFeaturesEXT size_control{};
  size_control.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT;
  VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR dot_features{};
  dot_features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR;
  if (has_size_control) dot_features.pNext = &size_control;
  VkPhysicalDeviceVulkan12Features features12{};
  features12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  features12.pNext = has_integer_dot ? static_cast<void*>(&dot_features) : dot_features.pNext;
  VkPhysicalDeviceVulkan11Features features11{};
  features11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  features11.pNext = &features12;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &features11;
  functions.vkGetPhysicalDeviceFeatures2(handle, &features);
  needs.need(features.features.shaderInt64, "shaderInt64");
  needs.need(features11.storageBuffer16BitAccess, "storageBuffer16BitAccess");
  needs.need(features12.bufferDeviceAddress, "bufferDeviceAddress");
  needs.need(features12.scalarBlockLayout, "scalarBlockLayout");
  needs.need(features12.timelineSemaphore, "timelineSemaphore");
  needs.need(size_control.subgroupSizeControl, "subgroupSizeControl");
  needs.need(size_control.computeFullSubgroups, "computeFullSubgroups");
  constexpr VkSubgroupFeatureFlags kOperations =
      VK_SUBGROUP_FEATURE_BASIC_BIT | VK_SUBGROUP_FEATURE_ARITHMETIC_BIT |
      VK_SUBGROUP_FEATURE_SHUFFLE_BIT | VK_SUBGROUP_FEATURE_BALLOT_BIT;
  const bool in_compute = (subgroup.supportedStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0;
  needs.need(in_compute && (subgroup.supportedOperations & kOperations) == kOperations,
             "subgroup arithmetic, shuffle and ballot in compute shaders");
  needs.need(subgroup.subgroupSize >= 4 && subgroup.subgroupSize <= 128, "subgroups of 4 to 128");
  device.integer_dot = dot_features.shaderIntegerDotProduct == VK_TRUE;
  device.integer_dot_accelerated =
      device.integer_dot && dots.integerDotProduct4x8BitPackedSignedAccelerated == VK_TRUE;
  device.matrices = cooperative_shape(functions, handle);
  device.pin_subgroups = sizes.minSubgroupSize != sizes.maxSubgroupSize;
  needs.need(!device.pin_subgroups ||
                 (sizes.requiredSubgroupSizeStages & VK_SHADER_STAGE_COMPUTE_BIT) != 0,
             "a chosen subgroup size in compute shaders");

  const VkPhysicalDeviceLimits& most = device.properties.limits;
  needs.need(most.maxComputeSharedMemorySize >= 32768, "32 KiB of shared memory");
  needs.need(most.maxComputeWorkGroupInvocations >= 256, "workgroups of 256");

  std::uint32_t count = 0;
  functions.vkGetPhysicalDeviceQueueFamilyProperties(handle, &count, nullptr);
  std::vector<VkQueueFamilyProperties> families(count);
  functions.vkGetPhysicalDeviceQueueFamilyProperties(handle, &count, families.data());
  const auto family = std::find_if(families.begin(), families.end(), [](const auto& one) {
    return (one.queueFlags & VK_QUEUE_COMPUTE_BIT) != 0;
  });
  needs.need(family != families.end(), "a compute queue");
  device.queue_family = static_cast<std::uint32_t>(family - families.begin());
  if (family != families.end()) device.timestamp_bits = family->timestampValidBits;
  device.memory_budget = has_extension(functions, handle, VK_EXT_MEMORY_BUDGET_EXTENSION_NAME);
  device.missing = needs.missing();
  return device;
}

}  // namespace l2a::vulkan
