// Copies from device memory to shared memory that run while a warp computes (cp.async, sm_80).
#pragma once

#include <cstdint>

namespace l2a::cuda {

__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}

// 16 bytes to a shared_address(); both addresses are multiples of 16.
__device__ inline void copy16_to(std::uint32_t to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(from));
}
// The same, or 16 zeros; `from` is then not read.
__device__ inline void copy16_or_zero(void* to, const void* from, bool there) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
               "r"(there ? 16 : 0));
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;"); }
// Until at most `pending` of this thread's groups are under way.
template <int pending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(pending));
}

// The same for a number that only the launch knows, up to 6. The branch is the same for all threads.
__device__ inline void wait_copies_to(int pending) {
  switch (pending) {
    case 0:
      return wait_copies<0>();
    case 1:
      return wait_copies<1>();
    case 2:
      return wait_copies<2>();
    case 3:
      return wait_copies<3>();
    case 4:
      return wait_copies<4>();
    case 5:
      return wait_copies<5>();
    default:
      return wait_copies<6>();
  }
}

}  // namespace l2a::cuda
