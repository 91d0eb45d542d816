// What Hopper adds to shared memory and to warps (sm_90a) beside barriers that count bytes (barrier.cuh): copies of boxes
// of a tensor by the copy engine (TMA), registers moved between warpgroups. A name for an instruction each; PTX ISA 8.0.
//
// A pipeline is a ring of stages with two barriers each: `full`, which the copy engine completes, and `empty`, on which
// those who have read the stage arrive. Round r of a stage waits for phase r % 2 of `full`, and before it is filled for
// the other phase of `empty`, which of a fresh barrier is over.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "backends/cuda/kernels/async_copy.cuh"
#include "backends/cuda/kernels/barrier.cuh"

// The instructions below exist in this compilation.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define L2A_HOPPER_CODE 1
#else
#define L2A_HOPPER_CODE 0
#endif

namespace l2a::cuda {

constexpr int kWarpgroup = 128;  // threads

#if L2A_HOPPER_CODE

__device__ inline void arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier))
               : "memory");
}

// Place in a ring of stages, and the phase that its barriers are in.
template <int stages>
struct Turn {
  int stage = 0, phase = 0;
  __device__ void advance() {
    if (++stage == stages) stage = 0, phase ^= 1;
  }
};

// A box of a tensor of two or three dimensions, the innermost coordinate first; what lies outside is zero.
__device__ inline void copy_box(void* to, const CUtensorMap& map, Barrier* full, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(full)), "r"(x), "r"(y)
      : "memory");
}
__device__ inline void copy_box(void* to, const CUtensorMap& map, Barrier* full, int x, int y,
                                int z) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(full)), "r"(x), "r"(y), "r"(z)
      : "memory");
}

// Ordinary stores to shared memory become visible to wgmma and the copy engine.
__device__ inline void publish_stores() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Barriers of part of a block; number 0 is __syncthreads'.
__device__ inline void meet(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
__device__ inline void pass(int number, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

template <int registers>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
}
template <int registers>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
}

#endif

}  // namespace l2a::cuda
