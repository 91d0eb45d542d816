// A Vulkan instance and what its devices can do.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backends/vulkan/loader.h"
#include "backends/vulkan/vulkan_backend.h"

namespace l2a::vulkan {

// Throws Error with what failed and why, naming `where`: the device, or "vulkan" before there is one.
void check(VkResult result, const std::string& where, const char* what);

class Instance {
 public:
  // `messages`: turns the validation layer on and receives what it says; null: off.
  explicit Instance(std::vector<std::string>* messages);
  ~Instance();
  Instance(const Instance&) = delete;
  Instance& operator=(const Instance&) = delete;

  const InstanceFunctions& functions() const { return functions_; }
  std::vector<VkPhysicalDevice> physical_devices() const;

 private:
  VkInstance instance_ = VK_NULL_HANDLE;
  InstanceFunctions functions_;
  VkDebugUtilsMessengerEXT messenger_ = VK_NULL_HANDLE;
};

// Of matrices that a subgroup multiplies together: rows and columns of the result, and columns of the first.
struct MatrixShape {
  std::uint32_t m = 0, n = 0, k = 0;  // 0: none
};

// What a device is, and which of the things that this backend needs it lacks.
struct PhysicalDevice {
  VkPhysicalDevice handle = VK_NULL_HANDLE;
  VkPhysicalDeviceProperties properties{};
  std::uint64_t max_allocation = 0;  // bytes of one allocation
  std::uint32_t subgroup_size = 0;   // pinned for every pipeline

  bool pin_subgroups = false;  // pipelines name the size, where a device has several
  // Dot products of four 8-bit integers: whether there are any, and in one instruction.
  bool integer_dot = false, integer_dot_accelerated = false;
  MatrixShape matrices;               // cooperative ones, of f16 with sums in f32
  std::uint32_t multiprocessors = 0;  // 0: the device does not say
  std::uint32_t queue_family = 0;
  std::uint32_t timestamp_bits = 0;  // that count, of a timestamp of the queue
  bool memory_budget = false;        // the driver tells what is free
  std::string missing;               // empty: usable

  bool gpu() const { return properties.deviceType != VK_PHYSICAL_DEVICE_TYPE_CPU; }
};
bool has_extension(const InstanceFunctions& functions, VkPhysicalDevice device, const char* name);
PhysicalDevice inspect(const InstanceFunctions& functions, VkPhysicalDevice handle);

}  // namespace l2a::vulkan
