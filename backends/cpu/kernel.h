// What a CPU kernel is, and what it is given when it runs.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>

#include "backends/cpu/simd.h"
#include "graph/op.h"
#include "graph/thread_pool.h"

namespace l2a {

struct CpuCall {
  const Op& op;
  std::span<const TensorView> inputs;
  TensorView output;
  ThreadPool& pool;
  const SimdKernels& simd;
  std::byte* workspace = nullptr;  // 64-byte aligned; as many bytes as the kernel asked for

  template <class T>
  const T& attributes() const {
    return static_cast<const T&>(op);
  }
};

struct CpuKernel {
  std::string_view op;
  void (*run)(const CpuCall& call);
  // Scratch bytes for such a call, asked once when a plan is compiled; null: none.
  std::size_t (*workspace_bytes)(const CpuCall& call) = nullptr;
};

// The kernel of an op, or null.
const CpuKernel* find_cpu_kernel(std::string_view op);

// Rows that one thread takes at a time, so that a claim costs little beside its work.
inline std::int64_t row_grain(std::int64_t bytes_per_row) {
  constexpr std::int64_t kBytes = 16 * 1024;
  return bytes_per_row >= kBytes ? 1 : kBytes / (bytes_per_row > 0 ? bytes_per_row : 1);
}

}  // namespace l2a
