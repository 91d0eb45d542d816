// Barriers in shared memory that count the bytes which the copy engine brings (compute capability 9.0 on). PTX ISA 8.0.
#pragma once

#include <cstdint>

#include "backends/cuda/kernels/async_copy.cuh"

namespace l2a::cuda {

using Barrier = std::uint64_t;

#if __CUDA_ARCH__ >= 900

__device__ inline void init_barrier(Barrier* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(arrivals));
}
// After init_barrier, before the copy engine may see the barriers.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// Arrives, and announces bytes that the phase waits for.
__device__ inline void arrive_expecting(Barrier* barrier, int bytes) {
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
}
__device__ inline void wait(Barrier* barrier, int phase) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(phase)
      : "memory");
}
// To a shared_address(); multiples of 16 bytes and addresses.
__device__ inline void bulk_copy(std::uint32_t to, const void* from, int bytes, Barrier* arrival) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(to),
      "l"(from), "r"(bytes), "r"(shared_address(arrival))
      : "memory");
}

#endif

}  // namespace l2a::cuda
