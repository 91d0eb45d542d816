// Compute pipelines by shader and specialisation, made when first asked for, and their cache on disk.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/vulkan/device.h"

namespace l2a::vulkan {

// Bytes of push constants that every device has.
inline constexpr std::uint32_t kPushBytes = 128;

class Pipelines {
 public:
  // `cache_folder` empty: the user's. A cache that cannot be read or written is as if it were empty.
  Pipelines(std::shared_ptr<Device> device, const std::string& cache_folder);
  ~Pipelines();
  Pipelines(const Pipelines&) = delete;
  Pipelines& operator=(const Pipelines&) = delete;

  // `constants` are specialisation constants 0, 1, ...: lanes of a workgroup first, a multiple of the
  // subgroup, which is second.
  VkPipeline get(std::string_view shader, const std::vector<std::uint32_t>& constants);
  VkPipelineLayout layout() const { return layout_; }
  // Writes the cache if there are pipelines that it did not hold.
  void save();

 private:
  VkPipeline make(std::string_view shader, const std::vector<std::uint32_t>& constants);
  void destroy();

  std::shared_ptr<Device> device_;
  std::filesystem::path file_;  // empty: no cache
  VkPipelineCache cache_ = VK_NULL_HANDLE;
  VkPipelineLayout layout_ = VK_NULL_HANDLE;
  std::map<std::pair<std::string_view, std::vector<std::uint32_t>>, VkPipeline> pipelines_;
  bool changed_ = false;
};

}  // namespace l2a::vulkan
