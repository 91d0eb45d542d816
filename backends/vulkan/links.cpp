#include "backends/vulkan/links.h"

#include <cstring>

namespace l2a::vulkan {
namespace {

constexpr std::size_t kLinkBytes = 64;  // as shaders/links.glsl has it

}  // namespace

Links::Links(const std::shared_ptr<Device>& device, std::size_t most)
    : counters_(device, (most + 1) * kLinkBytes, Memory::Kind::device),
      failed_(device, sizeof(std::uint32_t), Memory::Kind::staging) {
  std::memset(failed_.host(), 0, failed_.bytes());
  const VkDeviceAddress at = failed_.address();
  Transfers(device).upload(counters_, 0, std::as_bytes(std::span(&at, 1)));
}

bool Links::failed() const {
  std::uint32_t failed = 0;
  std::memcpy(&failed, failed_.host(), sizeof(failed));
  return failed != 0;
}

}  // namespace l2a::vulkan
