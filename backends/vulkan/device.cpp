#include "backends/vulkan/device.h"

#include <algorithm>
#include <cstdio>
#include <limits>

#include "backends/vulkan/cooperative.h"
#include "graph/error.h"
#include "graph/stopwatch.h"

namespace l2a::vulkan {
namespace {

constexpr double kPollSeconds = 0.02;

// Whose GPUs were seen to issue workgroups in the order of their dispatches.
constexpr std::uint32_t kNvidia = 0x10de;

Tuning tuning_for(const PhysicalDevice& physical, const VulkanOptions& options) {
  Tuning tuning;
  tuning.subgroup = physical.subgroup_size;
  tuning.link_looks = options.link_looks;
  if (physical.gpu() || options.tune_as_gpu) {
    tuning.workgroup = std::max(tuning.workgroup, tuning.subgroup);
    // Sums of 64 subgroups meet at most (reduce.glsl).
    tuning.product_lanes = std::min({tuning.product_lanes, 32 * tuning.subgroup,
                                     physical.properties.limits.maxComputeWorkGroupInvocations});
    tuning.argmax_lanes = std::min({tuning.argmax_lanes, 64 * tuning.subgroup,
                                    physical.properties.limits.maxComputeWorkGroupInvocations});
    tuning.product_lanes -= tuning.product_lanes % tuning.subgroup;
    tuning.argmax_lanes -= tuning.argmax_lanes % tuning.subgroup;
    if (physical.multiprocessors > 0) tuning.product_groups = physical.multiprocessors;
    // Eight lanes round a block of activations together.
    tuning.joins = tuning.subgroup >= 8;
    tuning.integer_dots = tuning.joins && physical.integer_dot &&
                          (physical.integer_dot_accelerated || !physical.gpu());
    tuning.links = tuning.joins && options.links.value_or(physical.gpu() &&
                                                          physical.properties.vendorID == kNvidia);
    tuning.splits_rows = tuning.integer_dots;
    tuning.cooperative = physical.matrices.m > 0;
    // Shaders of a CPU, shaped as for a GPU by a test, take minutes to compile where much is unrolled.
    if (!physical.gpu()) {
      tuning.attention_many = 128;
      tuning.attention_ahead = tuning.cooperative_rows = tuning.cooperative_tokens = 1;
    }
    return tuning;
  }
  tuning.gpu = false;
  tuning.workgroup = tuning.argmax_lanes = tuning.subgroup;
  tuning.matvec_rows = 4;
  tuning.matvec_row_a_lane = true;
  // A load that is the same for all lanes is one load with Mesa 26.2, and one a lane with 22.3, which also takes minutes to
  // compile so many sums.
  const bool loads_once = physical.properties.apiVersion >= VK_MAKE_API_VERSION(0, 1, 4, 0);
  tuning.matvec_share_x = !loads_once && tuning.subgroup >= 8;
  tuning.matvec_many_tokens = loads_once ? 16 : 0;
  tuning.tile_lanes_rows = tuning.subgroup;
  tuning.tile_lanes_tokens = 1;
  tuning.tile_rows = 8;
  tuning.tile_tokens = 16;
  tuning.attention_groups = 8;
  return tuning;
}

}  // namespace

Device::Device(std::unique_ptr<Instance> instance, const PhysicalDevice& physical,
               const VulkanOptions& options)
    : instance_(std::move(instance)),
      physical_(physical),
      name_(concat("vulkan (", physical.properties.deviceName, ")")),
      map_memory_(options.map_memory),
      tuning_(tuning_for(physical, options)),
      notice_(options.notice),
      links_(tuning_.links) {
  const float priority = 1;
  VkDeviceQueueCreateInfo queue{};
  queue.sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO;
  queue.queueFamilyIndex = physical.queue_family;
  queue.queueCount = 1;
  queue.pQueuePriorities = &priority;
  VkPhysicalDeviceSubgroupSizeControlFeaturesEXT size_control{};
  size_control.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SUBGROUP_SIZE_CONTROL_FEATURES_EXT;
  size_control.subgroupSizeControl = VK_TRUE;
  size_control.computeFullSubgroups = VK_TRUE;
  VkPhysicalDeviceVulkan12Features features12{};
  features12.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES;
  features12.pNext = &size_control;
  VkPhysicalDeviceShaderIntegerDotProductFeaturesKHR integer_dot{};
  integer_dot.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_SHADER_INTEGER_DOT_PRODUCT_FEATURES_KHR;
  integer_dot.shaderIntegerDotProduct = VK_TRUE;
  features12.bufferDeviceAddress = VK_TRUE;
  features12.scalarBlockLayout = VK_TRUE;
  features12.timelineSemaphore = VK_TRUE;
  VkPhysicalDeviceVulkan11Features features11{};
  features11.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES;
  features11.pNext = &features12;
  features11.storageBuffer16BitAccess = VK_TRUE;
  VkPhysicalDeviceFeatures2 features{};
  features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
  features.pNext = &features11;
  features.features.shaderInt64 = VK_TRUE;

  const InstanceFunctions& calls = instance_->functions();
  std::vector<const char*> extensions = {VK_EXT_SUBGROUP_SIZE_CONTROL_EXTENSION_NAME};
  if (tuning_.integer_dots) {
    extensions.push_back(VK_KHR_SHADER_INTEGER_DOT_PRODUCT_EXTENSION_NAME);
    size_control.pNext = &integer_dot;
  }
  CooperativeFeatures matrices;
  if (tuning_.cooperative) {
    features12.shaderFloat16 = VK_TRUE;
    features12.vulkanMemoryModel = VK_TRUE;
    features12.vulkanMemoryModelDeviceScope = VK_TRUE;
    features.pNext = matrices.enable(features.pNext, extensions);
  }
  VkDeviceCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO;
  info.pNext = &features;
  info.queueCreateInfoCount = 1;
  info.pQueueCreateInfos = &queue;
  info.enabledExtensionCount = static_cast<std::uint32_t>(extensions.size());
  info.ppEnabledExtensionNames = extensions.data();
  check(calls.vkCreateDevice(physical.handle, &info, nullptr, &device_), "opening the device");
  functions_ = load_device_functions(calls, device_);
  functions_.vkGetDeviceQueue(device_, physical.queue_family, 0, &queue_);

  VkPhysicalDeviceMemoryProperties2 memory{};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  calls.vkGetPhysicalDeviceMemoryProperties2(physical.handle, &memory);
  memory_ = memory.memoryProperties;

  VkSemaphoreTypeCreateInfo type{};
  type.sType = VK_STRUCTURE_TYPE_SEMAPHORE_TYPE_CREATE_INFO;
  type.semaphoreType = VK_SEMAPHORE_TYPE_TIMELINE;
  VkSemaphoreCreateInfo semaphore{};
  semaphore.sType = VK_STRUCTURE_TYPE_SEMAPHORE_CREATE_INFO;
  semaphore.pNext = &type;
  check(functions_.vkCreateSemaphore(device_, &semaphore, nullptr, &timeline_),
        "making a semaphore");
}

Device::~Device() {
  if (device_ == VK_NULL_HANDLE) return;
  functions_.vkDestroySemaphore(device_, timeline_, nullptr);
  functions_.vkDestroyDevice(device_, nullptr);
}

void Device::give_up_links() {
  if (!links_.exchange(false)) return;
  const std::string line =
      concat(name_,
             ": dispatches waited in vain for one another; from here on there are barriers "
             "between them, which are slower");
  if (notice_) {
    notice_(line);
  } else {
    std::fputs((line + "\n").c_str(), stderr);
  }
}

std::optional<std::uint32_t> Device::memory_type(std::uint32_t allowed,
                                                 VkMemoryPropertyFlags wanted) const {
  std::optional<std::uint32_t> best;
  for (std::uint32_t i = 0; i < memory_.memoryTypeCount; ++i) {
    const bool fits = (allowed >> i & 1u) != 0 && (memory_flags(i) & wanted) == wanted;
    if (fits && (!best || heap_bytes(i) > heap_bytes(*best))) best = i;
  }
  return best;
}

VkMemoryPropertyFlags Device::memory_flags(std::uint32_t type) const {
  return memory_.memoryTypes[type].propertyFlags;
}

std::uint64_t Device::heap_bytes(std::uint32_t type) const {
  return memory_.memoryHeaps[memory_.memoryTypes[type].heapIndex].size;
}

std::uint64_t Device::free_bytes() const {
  VkPhysicalDeviceMemoryBudgetPropertiesEXT budget{};
  budget.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT;
  VkPhysicalDeviceMemoryProperties2 memory{};
  memory.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_PROPERTIES_2;
  if (physical_.memory_budget) memory.pNext = &budget;
  instance_->functions().vkGetPhysicalDeviceMemoryProperties2(physical_.handle, &memory);
  const auto type = memory_type(~0u, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  if (!type) return 0;
  const std::uint32_t heap = memory_.memoryTypes[*type].heapIndex;
  const std::uint64_t all = physical_.memory_budget ? budget.heapBudget[heap] : heap_bytes(*type);
  const std::uint64_t taken = physical_.memory_budget ? budget.heapUsage[heap] : taken_bytes(*type);
  return all - std::min(all, taken);
}

void Device::count_allocation(std::uint32_t type, std::int64_t bytes) {
  taken_[memory_.memoryTypes[type].heapIndex] += bytes;
}

std::uint64_t Device::taken_bytes(std::uint32_t type) const {
  return static_cast<std::uint64_t>(taken_[memory_.memoryTypes[type].heapIndex].load());
}

void Device::submit_and_wait(VkCommandBuffer commands) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t value = ++submitted_;
  VkTimelineSemaphoreSubmitInfo timeline{};
  timeline.sType = VK_STRUCTURE_TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO;
  timeline.signalSemaphoreValueCount = 1;
  timeline.pSignalSemaphoreValues = &value;
  VkSubmitInfo submit{};
  submit.sType = VK_STRUCTURE_TYPE_SUBMIT_INFO;
  submit.pNext = &timeline;
  submit.commandBufferCount = 1;
  submit.pCommandBuffers = &commands;
  submit.signalSemaphoreCount = 1;
  submit.pSignalSemaphores = &timeline_;
  check(functions_.vkQueueSubmit(queue_, 1, &submit, VK_NULL_HANDLE), "submitting work");
  // A thread that sleeps is woken late, now and then by half a millisecond, a sixth of a token: short work is polled
  // for. Of a CPU's processors all are wanted for the work itself.
  if (physical_.gpu()) {
    const Stopwatch watch;
    std::uint64_t reached = 0;
    do {
      check(functions_.vkGetSemaphoreCounterValue(device_, timeline_, &reached),
            "waiting for work");
      if (reached >= value) return;
    } while (watch.seconds() < kPollSeconds);
  }
  VkSemaphoreWaitInfo wait{};
  wait.sType = VK_STRUCTURE_TYPE_SEMAPHORE_WAIT_INFO;
  wait.semaphoreCount = 1;
  wait.pSemaphores = &timeline_;
  wait.pValues = &value;
  check(functions_.vkWaitSemaphores(device_, &wait, std::numeric_limits<std::uint64_t>::max()),
        "waiting for work");
}

VkCommandPool Device::make_command_pool() const {
  VkCommandPoolCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO;
  info.queueFamilyIndex = physical_.queue_family;
  VkCommandPool pool = VK_NULL_HANDLE;
  check(functions_.vkCreateCommandPool(device_, &info, nullptr, &pool), "making a command pool");
  return pool;
}

VkCommandBuffer Device::make_command_buffer(VkCommandPool pool) const {
  VkCommandBufferAllocateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO;
  info.commandPool = pool;
  info.level = VK_COMMAND_BUFFER_LEVEL_PRIMARY;
  info.commandBufferCount = 1;
  VkCommandBuffer commands = VK_NULL_HANDLE;
  check(functions_.vkAllocateCommandBuffers(device_, &info, &commands), "making a command buffer");
  return commands;
}

}  // namespace l2a::vulkan
