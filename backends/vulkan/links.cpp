#include "backends/vulkan/links.h"

#include <algorithm>
#include <cstring>

namespace l2a::vulkan {
namespace {

constexpr std::uint32_t kUnwritten = 0xfffffffe;  // as shaders/links.glsl has it
constexpr std::size_t kChunkBytes = std::size_t{1} << 20, kAlign = 256;

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
  calls.vkCmdFillBuffer(commands, head_.buffer(), offsetof(Head, failed), sizeof(Head::failed), 0);
  for (const auto& chunk : memory.chunks_) {
    calls.vkCmdFillBuffer(commands, chunk->buffer(), 0, VK_WHOLE_SIZE, kUnwritten);
  }
  VkMemoryBarrier barrier{};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT;
  calls.vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                             VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT, 0, 1, &barrier, 0, nullptr, 0,
                             nullptr);
}

bool Links::failed() const {
  std::uint32_t failed = 0;
  std::memcpy(&failed, failed_.host(), sizeof(failed));
  return failed != 0;
}

}  // namespace l2a::vulkan
