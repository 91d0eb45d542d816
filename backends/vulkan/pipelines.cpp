#include "backends/vulkan/pipelines.h"

#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <optional>

#include "backends/vulkan/spirv.h"
#include "graph/error.h"

namespace l2a::vulkan {
namespace {

namespace fs = std::filesystem;

// The driver checks that the data is of its kind, not that it is whole, so a checksum goes before it.
using Checksum = std::uint64_t;
constexpr std::uintmax_t kMaxCacheBytes = std::uintmax_t{256} << 20;

fs::path user_cache_folder() {
  const auto from = [](const char* variable) -> fs::path {
    const char* value = std::getenv(variable);
    return value != nullptr && *value == '/' ? fs::path(value) : fs::path();
  };
  if (const fs::path cache = from("XDG_CACHE_HOME"); !cache.empty()) return cache / "l2a";
  if (const fs::path home = from("HOME"); !home.empty()) return home / ".cache" / "l2a";
  return {};
}

// Everything that the compiled code depends on.
std::string cache_key(const VkPhysicalDeviceProperties& device) {
  XXH3_state_t* state = XXH3_createState();
  XXH3_64bits_reset(state);
  const auto add = [&](const void* data, std::size_t bytes) {
    XXH3_64bits_update(state, data, bytes);
  };
  for (const Spirv& shader : all_spirv()) add(shader.words.data(), shader.words.size_bytes());
  add(device.deviceName, std::strlen(device.deviceName));
  for (const std::uint32_t number :
       {device.vendorID, device.deviceID, device.driverVersion, device.apiVersion}) {
    add(&number, sizeof(number));
  }
  add(device.pipelineCacheUUID, sizeof(device.pipelineCacheUUID));
  const std::uint64_t hash = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::vector<char> read_cache(const fs::path& path) {
  std::error_code error;
  const std::uintmax_t size = fs::file_size(path, error);
  if (error || size <= sizeof(Checksum) || size > kMaxCacheBytes) return {};
  std::vector<char> data(size - sizeof(Checksum));
  Checksum checksum = 0;
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(&checksum), sizeof(checksum));
  file.read(data.data(), static_cast<std::streamsize>(data.size()));
  if (!file || XXH3_64bits(data.data(), data.size()) != checksum) return {};
  return data;
}

// Aside, then renamed, so that a reader never sees half of it. Failure leaves no file behind.
void write_cache(const fs::path& path, const std::vector<char>& data) {
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  const fs::path aside = concat(path.string(), ".", ::getpid());
  {
    std::ofstream file(aside, std::ios::binary);
    const Checksum checksum = XXH3_64bits(data.data(), data.size());
    file.write(reinterpret_cast<const char*>(&checksum), sizeof(checksum));
    file.write(data.data(), static_cast<std::streamsize>(data.size()));
    file.close();
    if (file) {
      fs::rename(aside, path, error);
      if (!error) return;
    }
  }
  fs::remove(aside, error);
}

const Spirv& find_spirv(std::string_view name) {
  const auto all = all_spirv();
  const auto found =
      std::find_if(all.begin(), all.end(), [&](const Spirv& one) { return one.name == name; });
  if (found == all.end()) throw Error(concat("vulkan: no shader is called ", name));
  return *found;
}

}  // namespace

Pipelines::Pipelines(std::shared_ptr<Device> device, const std::string& cache_folder)
    : device_(std::move(device)) {
  const fs::path folder = cache_folder.empty() ? user_cache_folder() : fs::path(cache_folder);
  std::vector<char> data;
  if (!folder.empty()) {
    file_ = folder / concat("vulkan-", cache_key(device_->physical().properties), ".pipelines");
    data = read_cache(file_);
  }
  const DeviceFunctions& calls = device_->functions();
  VkPipelineCacheCreateInfo cache{};
  cache.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO;
  cache.initialDataSize = data.size();
  cache.pInitialData = data.data();
  device_->check(calls.vkCreatePipelineCache(device_->handle(), &cache, nullptr, &cache_),
                 "making a pipeline cache");
  VkPushConstantRange range{VK_SHADER_STAGE_COMPUTE_BIT, 0, kPushBytes};
  VkPipelineLayoutCreateInfo layout{};
  layout.sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO;
  layout.pushConstantRangeCount = 1;
  layout.pPushConstantRanges = &range;
  const VkResult made = calls.vkCreatePipelineLayout(device_->handle(), &layout, nullptr, &layout_);
  if (made != VK_SUCCESS) {
    destroy();
    device_->check(made, "making a pipeline layout");
  }
}

Pipelines::~Pipelines() {
  save();
  destroy();
}

void Pipelines::destroy() {
  const DeviceFunctions& calls = device_->functions();
  for (const auto& [key, pipeline] : pipelines_) {
    calls.vkDestroyPipeline(device_->handle(), pipeline, nullptr);
  }
  calls.vkDestroyPipelineLayout(device_->handle(), layout_, nullptr);
  calls.vkDestroyPipelineCache(device_->handle(), cache_, nullptr);
}

VkPipeline Pipelines::get(std::string_view shader, const std::vector<std::uint32_t>& constants) {
  const Spirv& spirv = find_spirv(shader);
  const auto [entry, fresh] = pipelines_.try_emplace({spirv.name, constants}, VK_NULL_HANDLE);
  if (fresh) {
    try {
      entry->second = make(spirv.name, constants);
    } catch (...) {
      pipelines_.erase(entry);
      throw;
    }
    changed_ = true;
  }
  return entry->second;
}

VkPipeline Pipelines::make(std::string_view shader, const std::vector<std::uint32_t>& constants) {
  const DeviceFunctions& calls = device_->functions();
  const Spirv& spirv = find_spirv(shader);
  VkShaderModuleCreateInfo code{};
  code.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO;
  code.codeSize = spirv.words.size_bytes();
  code.pCode = spirv.words.data();
  VkShaderModule module = VK_NULL_HANDLE;
  device_->check(calls.vkCreateShaderModule(device_->handle(), &code, nullptr, &module),
                 "reading a shader");

  std::vector<VkSpecializationMapEntry> entries;
  for (std::uint32_t i = 0; i < constants.size(); ++i) {
    entries.push_back({i, i * 4, sizeof(std::uint32_t)});
  }
  VkSpecializationInfo specialization{};
  specialization.mapEntryCount = static_cast<std::uint32_t>(entries.size());
  specialization.pMapEntries = entries.data();
  specialization.dataSize = constants.size() * sizeof(std::uint32_t);
  specialization.pData = constants.data();
  VkPipelineShaderStageRequiredSubgroupSizeCreateInfoEXT size{};
  size.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO_EXT;
  size.requiredSubgroupSize = device_->tuning().subgroup;
  VkComputePipelineCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO;
  info.stage.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO;
  info.stage.pNext = device_->physical().pin_subgroups ? &size : nullptr;
  info.stage.flags = VK_PIPELINE_SHADER_STAGE_CREATE_REQUIRE_FULL_SUBGROUPS_BIT_EXT;
  info.stage.stage = VK_SHADER_STAGE_COMPUTE_BIT;
  info.stage.module = module;
  info.stage.pName = "main";
  info.stage.pSpecializationInfo = &specialization;
  info.layout = layout_;
  VkPipeline pipeline = VK_NULL_HANDLE;
  const VkResult made =
      calls.vkCreateComputePipelines(device_->handle(), cache_, 1, &info, nullptr, &pipeline);
  calls.vkDestroyShaderModule(device_->handle(), module, nullptr);
  device_->check(made, concat("compiling the shader ", shader).c_str());
  return pipeline;
}

void Pipelines::save() {
  if (!changed_ || file_.empty()) return;
  changed_ = false;
  const DeviceFunctions& calls = device_->functions();
  std::size_t bytes = 0;
  if (calls.vkGetPipelineCacheData(device_->handle(), cache_, &bytes, nullptr) != VK_SUCCESS)
    return;
  std::vector<char> data(bytes);
  if (calls.vkGetPipelineCacheData(device_->handle(), cache_, &bytes, data.data()) != VK_SUCCESS) {
    return;
  }
  data.resize(bytes);
  if (!data.empty()) write_cache(file_, data);
}

}  // namespace l2a::vulkan
