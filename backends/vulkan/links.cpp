#include "backends/vulkan/links.h"

#include <algorithm>
#include <cstring>

namespace l2a::vulkan {
namespace {

constexpr std::uint32_t kUnwritten = 0xfffffffe;  // as shaders/links.glsl has it
// All of a token of a large model: filling takes the same time for each chunk, and little for its bytes.
constexpr std::size_t kChunkBytes = std::size_t{8} << 20, kAlign = 256;

// As shaders/links.glsl has it.
struct Head {
  VkDeviceAddress failed_for_host;
  std::uint32_t failed, unused;
};

}  // namespace

Extent LinkMemory::take(std::size_t bytes) {
  bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  if (chunks_.empty() || chunks_.back()->bytes() - used_ < bytes) {
    chunks_.push_back(
        std::make_unique<Memory>(device_, std::max(bytes, kChunkBytes), Memory::Kind::device));
    used_ = 0;
  }
  const VkDeviceAddress begin = chunks_.back()->address() + used_;
  used_ += bytes;
  return {begin, begin + bytes};
}

std::vector<Extent> LinkMemory::extents() const {
  std::vector<Extent> extents;
  for (const auto& chunk : chunks_) {
    extents.push_back({chunk->address(), chunk->address() + chunk->bytes()});
  }
  return extents;
}

Links::Links(const std::shared_ptr<Device>& device)
    : device_(device),
      head_(device, sizeof(Head), Memory::Kind::device),
      failed_(device, sizeof(std::uint32_t), Memory::Kind::staging) {
  std::memset(failed_.host(), 0, failed_.bytes());
  const Head head{failed_.address(), 0, 0};
  Transfers(device).upload(head_, 0, std::as_bytes(std::span(&head, 1)));
}

void Links::reset(VkCommandBuffer commands, const LinkMemory& memory) const {
  const DeviceFunctions& calls = device_->functions();
  for (const auto& chunk : memory.chunks_) {
    const bool last = chunk == memory.chunks_.back();
    calls.vkCmdFillBuffer(commands, chunk->buffer(), 0, last ? memory.used_ : VK_WHOLE_SIZE,
                          kUnwritten);
  }
}

bool Links::failed() const {
  std::uint32_t failed = 0;
  std::memcpy(&failed, failed_.host(), sizeof(failed));
  return failed != 0;
}

}  // namespace l2a::vulkan
