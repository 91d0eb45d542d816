// What every backend that computes on the host has in common: memory with a host address.
#pragma once

#include <memory>
#include <span>

#include "graph/backend.h"

namespace l2a {

class HostBackend : public Backend {
 public:
  bool uses_host_memory() const final { return true; }
  // Zeroed pages. They take physical memory only when touched, so a cache reserved for a long
  // context grows with what is in it.
  std::shared_ptr<Buffer> allocate(std::size_t bytes) override;
  // In place. Uploading to it throws Error.
  std::shared_ptr<Buffer> import(std::span<const std::byte> bytes,
                                 std::shared_ptr<const void> owner) final;
};

}  // namespace l2a
