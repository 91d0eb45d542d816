// The Vulkan backend: any GPU with Vulkan 1.2, of any vendor. Its loader is opened when it is first
// asked for, so that a program that has this backend also starts where Vulkan is not installed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "graph/backend.h"

namespace l2a {

struct VulkanDeviceInfo {
  std::string name;  // as the driver gives it
  bool gpu = false;  // false: Vulkan computed on the CPU, as Mesa's lavapipe does
  // Products of many tokens round activations to f16, and weights of other types too, for cooperative matrices.
  bool cooperative = false;
  std::string missing;  // what this backend needs and the device lacks; empty if it can be used
};

// Every device of this machine, in the order of their numbers. Empty where there is no loader or no
// driver; never throws.
std::vector<VulkanDeviceInfo> list_vulkan_devices();

struct VulkanOptions {
  int device = -1;  // number in list_vulkan_devices(); -1: the first usable GPU, else the first
                    // usable device
  // Turns VK_LAYER_KHRONOS_validation on and receives what it says. Must outlive the backend and what
  // was made with it.
  std::vector<std::string>* validation_messages = nullptr;
  // False: the host reaches device memory by copies alone, as it must on GPUs whose memory it cannot
  // map. For tests.
  bool map_memory = true;
  // True: kernels are shaped as for a GPU on any device. For tests.
  bool tune_as_gpu = false;
  // Whether dispatches of a decoded token wait for one another without barriers (links.h), and how often each looks
  // before it gives up. Unset: on GPUs where that was seen to work. For tests.
  std::optional<bool> links;
  std::uint32_t link_looks = 1u << 17;  // a tenth of a second
  // Is told what a user should know, a line at a time. Unset: the standard error output is.
  std::function<void(const std::string& line)> notice;
  // Folder of the cache of compiled pipelines. Empty: $XDG_CACHE_HOME/l2a or ~/.cache/l2a.
  std::string cache_folder;
};

// Throws Error naming the device and what is missing: no loader, no such device, a feature, the
// validation layer.
std::shared_ptr<Backend> make_vulkan_backend(const VulkanOptions& options = {});

}  // namespace l2a
