#include "backends/cuda/transfer.h"

#include <algorithm>
#include <cstring>

namespace l2a::cuda {

Transfer::Transfer(cudaStream_t stream) : stream_(stream) {
  for (Slot& slot : slots_) {
    slot.memory = allocate_pinned(kSlotBytes);
    slot.read = make_event(cudaEventDisableTiming);
  }
  downloaded_ = allocate_pinned(kSlotBytes);
}

Transfer::Slot& Transfer::next_slot() {
  check(cudaEventRecord(slots_[next_].read.get(), stream_), "copying to the device");
  next_ = (next_ + 1) % kSlots;
  Slot& slot = slots_[next_];
  check(cudaEventSynchronize(slot.read.get()), "waiting for a copy");
  slot.used = 0;
  return slot;
}

void Transfer::upload(std::byte* device, std::span<const std::byte> from) {
  for (std::size_t done = 0; done < from.size();) {
    Slot* slot = &slots_[next_];
    if (slot->used == kSlotBytes) slot = &next_slot();
    const std::size_t bytes = std::min(kSlotBytes - slot->used, from.size() - done);
    std::byte* const staged = static_cast<std::byte*>(slot->memory.get()) + slot->used;
    std::memcpy(staged, from.data() + done, bytes);
    check(cudaMemcpyAsync(device + done, staged, bytes, cudaMemcpyHostToDevice, stream_),
          "copying to the device");
    slot->used += bytes;
    done += bytes;
  }
}

void Transfer::download(std::span<std::byte> to, const std::byte* device) {
  for (std::size_t done = 0; done < to.size();) {
    const std::size_t bytes = std::min(kSlotBytes, to.size() - done);
    check(cudaMemcpyAsync(downloaded_.get(), device + done, bytes, cudaMemcpyDeviceToHost, stream_),
          "copying from the device");
    check(cudaStreamSynchronize(stream_), "waiting for the device");
    // Nothing that was uploaded is still to be read.
    slots_[next_].used = 0;
    std::memcpy(to.data() + done, downloaded_.get(), bytes);
    done += bytes;
  }
}

}  // namespace l2a::cuda
