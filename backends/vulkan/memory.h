// Memory of a device: allocations with an address, and copies in and out of them.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "backends/vulkan/device.h"

namespace l2a::vulkan {

// A part of device memory.
struct Extent {
  VkDeviceAddress begin = 0, end = 0;
  bool overlaps(const Extent& other) const { return begin < other.end && other.begin < end; }
};

// One allocation. Shaders reach it by its address alone, so there are no descriptors and no limit on
// the range that a kernel sees. kTail bytes follow that kernels may read, never write: they load whole
// words where a tensor ends inside one.
class Memory {
 public:
  enum class Kind : std::uint8_t {
    device,   // near the device; has a host address only where that costs nothing
    staging,  // read and written by the host
  };
  static constexpr std::size_t kTail = 64;

  // Throws Error with what was asked for and what is left.
  Memory(std::shared_ptr<Device> device, std::size_t bytes, Kind kind);
  ~Memory();
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  VkBuffer buffer() const { return buffer_; }
  VkDeviceAddress address() const { return address_; }
  std::size_t bytes() const { return bytes_; }
  std::byte* host() const { return host_; }              // null: not mapped
  bool host_reads_fast() const { return host_cached_; }  // else only writes are quick

 private:
  void release();

  std::shared_ptr<Device> device_;
  std::size_t bytes_;
  std::uint32_t type_ = 0;
  std::uint64_t counted_ = 0;
  VkBuffer buffer_ = VK_NULL_HANDLE;
  VkDeviceMemory memory_ = VK_NULL_HANDLE;
  VkDeviceAddress address_ = 0;
  std::byte* host_ = nullptr;
  bool host_cached_ = false;
};

// Copies between host and device, through a staging buffer where memory is not mapped.
class Transfers {
 public:
  explicit Transfers(std::shared_ptr<Device> device);
  ~Transfers();
  Transfers(const Transfers&) = delete;
  Transfers& operator=(const Transfers&) = delete;

  void zero(const Memory& memory);
  void upload(const Memory& to, std::size_t offset, std::span<const std::byte> from);
  void download(const Memory& from, std::size_t offset, std::span<std::byte> to);

 private:
  template <class Record>
  void run(Record record);
  Memory& staging();

  std::shared_ptr<Device> device_;
  std::unique_ptr<Memory> staging_;
  VkCommandPool pool_ = VK_NULL_HANDLE;
  VkCommandBuffer commands_ = VK_NULL_HANDLE;
};

}  // namespace l2a::vulkan
