#include "backends/vulkan/memory.h"

#include <algorithm>
#include <cstring>

#include "graph/error.h"

namespace l2a::vulkan {
namespace {

constexpr std::size_t kStagingBytes = std::size_t{16} << 20;
// As many the host reads from mapped memory word by word in the time that a copy by the device takes.
constexpr std::size_t kFewBytes = 256;

// Mapped device memory is best where all of it can be mapped (integrated GPUs, resizable BAR); a small
// window would only run full.
std::optional<std::uint32_t> device_type(const Device& device, std::uint32_t allowed) {
  constexpr VkMemoryPropertyFlags kMapped =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  const auto local = device.memory_type(allowed, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT);
  const auto mapped = device.memory_type(allowed, VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT | kMapped);
  if (mapped && device.heap_bytes(*mapped) >= device.heap_bytes(*local)) return mapped;
  return local;
}

std::optional<std::uint32_t> staging_type(const Device& device, std::uint32_t allowed) {
  constexpr VkMemoryPropertyFlags kMapped =
      VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
  const auto cached = device.memory_type(allowed, kMapped | VK_MEMORY_PROPERTY_HOST_CACHED_BIT);
  return cached ? cached : device.memory_type(allowed, kMapped);
}

}  // namespace

Memory::Memory(std::shared_ptr<Device> device, std::size_t bytes, Kind kind)
    : device_(std::move(device)), bytes_(bytes) {
  const DeviceFunctions& calls = device_->functions();
  const std::uint64_t limit = device_->physical().max_allocation;
  if (bytes > limit || bytes + kTail > limit) {
    throw Error(concat(device_->name(), ": cannot allocate ", bytes,
                       " bytes: one allocation holds at most ", limit));
  }
  VkBufferCreateInfo info{};
  info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
  info.size = (bytes + kTail + 3) / 4 * 4;
  info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_INDIRECT_BUFFER_BIT |
               VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT |
               VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT;
  device_->check(calls.vkCreateBuffer(device_->handle(), &info, nullptr, &buffer_),
                 "making a buffer");
  VkMemoryRequirements needs{};
  calls.vkGetBufferMemoryRequirements(device_->handle(), buffer_, &needs);
  const auto type = kind == Kind::device ? device_type(*device_, needs.memoryTypeBits)
                                         : staging_type(*device_, needs.memoryTypeBits);
  if (!type) {
    release();
    throw Error(concat(device_->name(), ": has no memory of the kind that is needed"));
  }
  type_ = *type;
  VkMemoryAllocateFlagsInfo flags{};
  flags.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO;
  flags.flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT;
  VkMemoryAllocateInfo allocate{};
  allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
  allocate.pNext = &flags;
  allocate.allocationSize = needs.size;
  allocate.memoryTypeIndex = type_;
  const VkResult allocated =
      calls.vkAllocateMemory(device_->handle(), &allocate, nullptr, &memory_);
  if (allocated != VK_SUCCESS) {
    release();
    vulkan::check(allocated, device_->name(),
                  concat("allocating ", bytes, " bytes, with ", device_->taken_bytes(type_),
                         " of the memory's ", device_->heap_bytes(type_), " in use here")
                      .c_str());
  }
  counted_ = needs.size;
  device_->count_allocation(type_, static_cast<std::int64_t>(counted_));
  const bool map = kind == Kind::staging || device_->maps_memory();
  VkResult result = calls.vkBindBufferMemory(device_->handle(), buffer_, memory_, 0);
  const VkMemoryPropertyFlags have = device_->memory_flags(type_);
  if (result == VK_SUCCESS && map && (have & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) != 0 &&
      (have & VK_MEMORY_PROPERTY_HOST_COHERENT_BIT) != 0) {
    void* mapped = nullptr;
    result = calls.vkMapMemory(device_->handle(), memory_, 0, VK_WHOLE_SIZE, 0, &mapped);
    host_ = static_cast<std::byte*>(mapped);
    host_cached_ = (have & VK_MEMORY_PROPERTY_HOST_CACHED_BIT) != 0;
  }
  if (result != VK_SUCCESS) {
    release();
    device_->check(result, "preparing memory");
  }
  VkBufferDeviceAddressInfo where{};
  where.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO;
  where.buffer = buffer_;
  address_ = calls.vkGetBufferDeviceAddress(device_->handle(), &where);
}

Memory::~Memory() { release(); }

void Memory::release() {
  const DeviceFunctions& calls = device_->functions();
  calls.vkDestroyBuffer(device_->handle(), buffer_, nullptr);
  calls.vkFreeMemory(device_->handle(), memory_, nullptr);
  device_->count_allocation(type_, -static_cast<std::int64_t>(counted_));
}

Transfers::Transfers(std::shared_ptr<Device> device)
    : device_(std::move(device)),
      pool_(device_->make_command_pool()),
      commands_(device_->make_command_buffer(pool_)) {}

Transfers::~Transfers() {
  device_->functions().vkDestroyCommandPool(device_->handle(), pool_, nullptr);
}

template <class Record>
void Transfers::run(Record record) {
  const DeviceFunctions& calls = device_->functions();
  device_->check(calls.vkResetCommandPool(device_->handle(), pool_, 0), "recording a copy");
  VkCommandBufferBeginInfo begin{};
  begin.sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO;
  begin.flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT;
  device_->check(calls.vkBeginCommandBuffer(commands_, &begin), "recording a copy");
  record(calls);
  // What follows, on the device or the host, sees what was copied.
  VkMemoryBarrier barrier{};
  barrier.sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER;
  barrier.srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT;
  barrier.dstAccessMask = VK_ACCESS_SHADER_READ_BIT | VK_ACCESS_SHADER_WRITE_BIT |
                          VK_ACCESS_TRANSFER_READ_BIT | VK_ACCESS_TRANSFER_WRITE_BIT |
                          VK_ACCESS_HOST_READ_BIT;
  calls.vkCmdPipelineBarrier(commands_, VK_PIPELINE_STAGE_TRANSFER_BIT,
                             VK_PIPELINE_STAGE_COMPUTE_SHADER_BIT | VK_PIPELINE_STAGE_TRANSFER_BIT |
                                 VK_PIPELINE_STAGE_HOST_BIT,
                             0, 1, &barrier, 0, nullptr, 0, nullptr);
  device_->check(calls.vkEndCommandBuffer(commands_), "recording a copy");
  device_->submit_and_wait(commands_);
}

Memory& Transfers::staging() {
  if (!staging_) {
    staging_ = std::make_unique<Memory>(device_, kStagingBytes, Memory::Kind::staging);
  }
  return *staging_;
}

void Transfers::zero(const Memory& memory) {
  if (memory.host() != nullptr) {
    std::memset(memory.host(), 0, memory.bytes() + Memory::kTail);
    return;
  }
  run([&](const DeviceFunctions& calls) {
    calls.vkCmdFillBuffer(commands_, memory.buffer(), 0, VK_WHOLE_SIZE, 0);
  });
}

void Transfers::upload(const Memory& to, std::size_t offset, std::span<const std::byte> from) {
  if (to.host() != nullptr) {
    std::memcpy(to.host() + offset, from.data(), from.size());
    return;
  }
  for (std::size_t done = 0; done < from.size(); done += kStagingBytes) {
    const std::size_t count = std::min(kStagingBytes, from.size() - done);
    std::memcpy(staging().host(), from.data() + done, count);
    run([&](const DeviceFunctions& calls) {
      const VkBufferCopy region{0, offset + done, count};
      calls.vkCmdCopyBuffer(commands_, staging().buffer(), to.buffer(), 1, &region);
    });
  }
}

void Transfers::download(const Memory& from, std::size_t offset, std::span<std::byte> to) {
  if (from.host() != nullptr && (from.host_reads_fast() || to.size() <= kFewBytes)) {
    std::memcpy(to.data(), from.host() + offset, to.size());
    return;
  }
  for (std::size_t done = 0; done < to.size(); done += kStagingBytes) {
    const std::size_t count = std::min(kStagingBytes, to.size() - done);
    run([&](const DeviceFunctions& calls) {
      const VkBufferCopy region{offset + done, 0, count};
      calls.vkCmdCopyBuffer(commands_, from.buffer(), staging().buffer(), 1, &region);
    });
    std::memcpy(to.data() + done, staging().host(), count);
  }
}

}  // namespace l2a::vulkan
