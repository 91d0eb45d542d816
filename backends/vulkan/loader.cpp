#include "backends/vulkan/loader.h"

#include <dlfcn.h>

#include "graph/error.h"

namespace l2a::vulkan {
namespace {

GlobalFunctions open_loader() {
  void* library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    throw Error(concat("vulkan: there is no Vulkan loader here (", dlerror(),
                       "); it comes with the GPU's driver, or as the package libvulkan1"));
  }
  GlobalFunctions table;
  table.vkGetInstanceProcAddr =
      reinterpret_cast<PFN_vkGetInstanceProcAddr>(dlsym(library, "vkGetInstanceProcAddr"));
  if (table.vkGetInstanceProcAddr == nullptr) {
    throw Error("vulkan: libvulkan.so.1 is not a Vulkan loader");
  }
#define L2A_VULKAN_LOAD(name) \
  table.name = reinterpret_cast<PFN_##name>(table.vkGetInstanceProcAddr(nullptr, #name));
  L2A_VULKAN_GLOBAL_FUNCTIONS(L2A_VULKAN_LOAD)
#undef L2A_VULKAN_LOAD
  return table;
}

}  // namespace

const GlobalFunctions& global_functions() {
  static const GlobalFunctions table = open_loader();
  return table;
}

InstanceFunctions load_instance_functions(VkInstance instance) {
  InstanceFunctions table;
  const auto find = global_functions().vkGetInstanceProcAddr;
#define L2A_VULKAN_LOAD(name) table.name = reinterpret_cast<PFN_##name>(find(instance, #name));
  L2A_VULKAN_INSTANCE_FUNCTIONS(L2A_VULKAN_LOAD)
  L2A_VULKAN_COOPERATIVE_FUNCTIONS(L2A_VULKAN_LOAD)
#undef L2A_VULKAN_LOAD
  return table;
}

DeviceFunctions load_device_functions(const InstanceFunctions& instance, VkDevice device) {
  DeviceFunctions table;
#define L2A_VULKAN_LOAD(name) \
  table.name = reinterpret_cast<PFN_##name>(instance.vkGetDeviceProcAddr(device, #name));
  L2A_VULKAN_DEVICE_FUNCTIONS(L2A_VULKAN_LOAD)
#undef L2A_VULKAN_LOAD
  return table;
}

}  // namespace l2a::vulkan
