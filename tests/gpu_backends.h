// The GPU backends that this build and this machine have, for tests that run on each of them.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <vector>

#include "graph/backend.h"
#ifdef L2A_HAS_CUDA
#include "backends/cuda/cuda_backend.h"
#endif

namespace l2a::test {

// Says so where there is none.
inline std::vector<std::shared_ptr<Backend>> gpu_backends() {
  std::vector<std::shared_ptr<Backend>> backends;
#ifdef L2A_HAS_CUDA
  if (list_cuda_devices().empty()) {
    MESSAGE("skipped on CUDA: this machine has no NVIDIA GPU that its driver can use");
  } else {
    backends.push_back(make_cuda_backend());
  }
#endif
  return backends;
}

}  // namespace l2a::test
