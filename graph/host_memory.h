// What every backend that computes on the host has in common: memory with a host address.
#pragma once

#include <memory>
#include <span>

#include "graph/backend.h"

namespace l2a {

// Advises the system to back memory that is yet to be touched with large pages (2 MiB where x86 has them). Reading or
// writing megabytes is bound by how many page translations a core remembers otherwise: a thread read 10 GB/s of weights
// where it read 13 of large pages. Advice: where the system has none or declines, nothing changes.
void prefer_large_pages(std::span<std::byte> memory);

class HostBackend : public Backend {
 public:
  bool uses_host_memory() const final { return true; }
  // Zeroed pages, large ones where there are any. They take physical memory only when touched, so a cache reserved for a
  // long context grows with what is in it.
  std::shared_ptr<Buffer> allocate(std::size_t bytes) override;
  // In place. Uploading to it throws Error.
  std::shared_ptr<Buffer> import(std::span<const std::byte> bytes,
                                 std::shared_ptr<const void> owner) final;
};

}  // namespace l2a
