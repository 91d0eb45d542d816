// Copies between the host and a device, through pinned memory: the stream's order is the only
// order, and the host waits only for what it reads.
#pragma once

#include <cstddef>
#include <span>

#include "backends/cuda/handles.h"

namespace l2a::cuda {

class Transfer {
 public:
  explicit Transfer(cudaStream_t stream);

  // The bytes may be reused when this returns; they arrive in the order of the stream.
  void upload(std::byte* device, std::span<const std::byte> from);
  // Waits for everything in the stream so far.
  void download(std::span<std::byte> to, const std::byte* device);

 private:
  static constexpr std::size_t kSlotBytes = std::size_t{4} << 20;
  static constexpr int kSlots = 4;
  // Uploads lie behind one another, so that a step's few small ones cost no event each.
  struct Slot {
    PinnedMemory memory;
    std::size_t used = 0;
    Event read;  // the device has read all of it
  };
  Slot& next_slot();

  cudaStream_t stream_;
  Slot slots_[kSlots];
  int next_ = 0;
  PinnedMemory downloaded_;
};

}  // namespace l2a::cuda
