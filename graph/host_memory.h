// Memory with a host address, for every backend that computes on the host.
#pragma once

#include <memory>
#include <span>

#include "graph/backend.h"

namespace l2a {

// Zeroed pages. They take physical memory only when touched, so a cache reserved for a long context
// grows with what is in it. Throws Error when the system refuses.
std::shared_ptr<Buffer> allocate_host(Backend& backend, std::size_t bytes);

// Read-only bytes that `owner` keeps alive, in place. Uploading to it throws Error.
std::shared_ptr<Buffer> import_host(Backend& backend, std::span<const std::byte> bytes,
                                    std::shared_ptr<const void> owner);

}  // namespace l2a
