// The CPU backend.
#pragma once

#include <memory>
#include <optional>

#include "backends/cpu/simd.h"
#include "graph/backend.h"

namespace l2a {

struct CpuOptions {
  int threads = 0;                 // 0: one for each CPU that this process may use
  std::optional<SimdLevel> level;  // none: the best that this machine has
  bool pin = false;                // each thread but the caller's to a CPU of its own
};

// Throws Error when the machine lacks the level asked for or the CPUs to pin threads to, or `threads` is negative or
// beyond 1024.
std::shared_ptr<Backend> make_cpu_backend(const CpuOptions& options = {});

}  // namespace l2a
