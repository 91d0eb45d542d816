#include "backends/cuda/transfer.h"

#include <algorithm>
#include <cstring>

namespace l2a::cuda {

Transfer::Transfer(cudaStream_t stream) : stream_(stream) {
  for (Slot& slot : slots_) {
    slot.memory = allocate_pinned(kSlotBytes);
    slot.read = make_event(cudaEventDisableTiming);
  }
}

Transfer::Slot& Transfer::next_slot() {
  Slot& slot = slots_[next_];
  next_ = (next_ + 1) % kSlots;
  check(cudaEventSynchronize(slot.read.get()), "waiting for a copy");
  return slot;
}

void Transfer::upload(std::byte* device, std::span<const std::byte> from) {
  for (std::size_t done = 0; done < from.size();) {
    const std::size_t bytes = std::min(kSlotBytes, from.size() - done);
    Slot& slot = next_slot();
    std::memcpy(slot.memory.get(), from.data() + done, bytes);
    check(cudaMemcpyAsync(device + done, slot.memory.get(), bytes, cudaMemcpyHostToDevice, stream_),
          "copying to the device");
    check(cudaEventRecord(slot.read.get(), stream_), "copying to the device");
    done += bytes;
  }
}

void Transfer::download(std::span<std::byte> to, const std::byte* device) {
  for (std::size_t done = 0; done < to.size();) {
    const std::size_t bytes = std::min(kSlotBytes, to.size() - done);
    Slot& slot = next_slot();
    check(cudaMemcpyAsync(slot.memory.get(), device + done, bytes, cudaMemcpyDeviceToHost, stream_),
          "copying from the device");
    check(cudaStreamSynchronize(stream_), "waiting for the device");
    std::memcpy(to.data() + done, slot.memory.get(), bytes);
    done += bytes;
  }
}

}  // namespace l2a::cuda
