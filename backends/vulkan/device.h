// A device that is in use: its queue, its memory types, and the numbers its kernels are tuned by.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "backends/vulkan/instance.h"

namespace l2a::vulkan {

// How kernels spread over a device. Two kinds of device differ by an order of magnitude: on GPUs a
// subgroup's loads of neighbouring addresses are one access and shared memory is quick; on a CPU every
// lane's load is its own, shared memory is memory, and a barrier suspends a coroutine, so that groups
// are one subgroup wide and tiles are deep in registers.
struct Tuning {
  bool gpu = true;
  std::uint32_t subgroup = 32;
  std::uint32_t workgroup = 256;      // lanes of element-wise kernels and reductions
  std::uint32_t argmax_lanes = 1024;  // one workgroup has a whole vocabulary
  std::uint32_t matvec_rows = 2;      // weight rows of a subgroup, or of a lane
  bool matvec_row_a_lane = false;     // lanes on rows of their own, not along the same rows
  bool matvec_share_x = false;        // then: each loads a part of x for all, not all of them all
  // Then: of how many tokens a lane has the sums, of prompts too; 0: those are matmul.comp's.
  std::uint32_t matvec_many_tokens = 0;
  // products.comp for few tokens, with nodes joined (lowering.h); with integer dot products, also of
  // quantized weights.
  bool joins = false, integer_dots = false;
  bool links = false;  // dispatches wait for one another (links.h)
  std::uint32_t link_looks = 0;
  bool splits_rows = false;            // of q8_0 weights (split_rows.h)
  std::uint32_t product_lanes = 1024;  // of a workgroup
  std::uint32_t product_groups = 128;  // workgroups, at most
  std::uint32_t product_rows = 2;      // weight rows of a subgroup at a time; even
  std::uint32_t product_vectors = 4;   // of sixteen bytes, of all rows, that a lane has under way
  bool cooperative = false;            // large products by cooperative matrices
  std::uint32_t cooperative_rows = 4;  // of those that a subgroup has, by weight rows
  std::uint32_t cooperative_tokens = 2;
  std::uint32_t tile_lanes_rows = 16;  // the lanes of a matrix tile, by weight rows
  std::uint32_t tile_lanes_tokens = 8;
  std::uint32_t tile_rows = 4;  // outputs of a lane, by weight rows
  std::uint32_t tile_tokens = 8;
  std::uint32_t attention_rows = 8;   // queries that share a pass over the keys, in registers
  std::uint32_t attention_ahead = 4;  // keys of few queries that a lane has under way
  // Of one token: from so many keys on a workgroup has several queries, which share what is loaded of keys.
  std::uint32_t attention_many = 6144;
  std::uint32_t attention_groups = 512;  // workgroups that keep the device busy at decode
};

class Device {
 public:
  Device(std::unique_ptr<Instance> instance, const PhysicalDevice& physical,
         const VulkanOptions& options);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  const std::string& name() const { return name_; }  // "vulkan (NVIDIA ...)"
  const PhysicalDevice& physical() const { return physical_; }
  const Tuning& tuning() const { return tuning_; }
  const DeviceFunctions& functions() const { return functions_; }
  VkDevice handle() const { return device_; }
  // False once a wait of linked dispatches was given up.
  bool links() const { return links_; }
  void give_up_links();
  bool maps_memory() const { return map_memory_; }  // where it can

  // Memory that has all of `wanted`, best first by size of heap; nothing if there is none.
  std::optional<std::uint32_t> memory_type(std::uint32_t allowed,
                                           VkMemoryPropertyFlags wanted) const;
  VkMemoryPropertyFlags memory_flags(std::uint32_t type) const;
  std::uint64_t heap_bytes(std::uint32_t type) const;
  // Of the largest heap that is near the device: what the driver says this program may still take, else what it has
  // not taken.
  std::uint64_t free_bytes() const;
  // Counts what this program has taken of each heap, for messages.
  void count_allocation(std::uint32_t type, std::int64_t bytes);
  std::uint64_t taken_bytes(std::uint32_t type) const;

  // Runs a recorded command buffer and waits for its end. Throws Error when the device is lost.
  void submit_and_wait(VkCommandBuffer commands);
  VkCommandPool make_command_pool() const;
  VkCommandBuffer make_command_buffer(VkCommandPool pool) const;
  void check(VkResult result, const char* what) const { vulkan::check(result, name_, what); }

 private:
  std::unique_ptr<Instance> instance_;
  PhysicalDevice physical_;
  std::string name_;
  bool map_memory_;
  Tuning tuning_;
  std::function<void(const std::string&)> notice_;
  std::atomic<bool> links_;
  VkPhysicalDeviceMemoryProperties memory_{};
  std::array<std::atomic<std::int64_t>, VK_MAX_MEMORY_HEAPS> taken_{};
  VkDevice device_ = VK_NULL_HANDLE;
  DeviceFunctions functions_;
  VkQueue queue_ = VK_NULL_HANDLE;
  VkSemaphore timeline_ = VK_NULL_HANDLE;
  std::mutex mutex_;
  std::uint64_t submitted_ = 0;
};

}  // namespace l2a::vulkan
