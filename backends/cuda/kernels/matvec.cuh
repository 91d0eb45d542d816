// What the matvec kernels share: tasks of two weight rows, and where their products go.
//
// A warp takes two rows at a time. Two neighbours of one weight, or, when gated, row n of the gate and row n of the
// other side, whose products then meet in one lane. Tasks are dealt out over the blocks like cards, so that every
// multiprocessor has its share of a short weight too.
#pragma once

#include "backends/cuda/kernels/chain.cuh"
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"

namespace l2a::cuda {

struct MatvecRows {
  const std::byte* row[2];
  int product, n;  // of the first row
  bool second;     // there is a second row
};

struct MatvecTasks {
  Product products[Matvec::kMaxProducts];
  int count;
  bool gated;

  __host__ __device__ int tasks_of(int product) const { return (products[product].outer + 1) / 2; }
  // Of all products, or of all but the last.
  __host__ __device__ int total(bool all = true) const {
    if (gated) return products[0].outer;
    int tasks = 0;
    for (int i = 0; i < (all ? count : count - 1); ++i) tasks += tasks_of(i);
    return tasks;
  }

  __device__ MatvecRows rows(int task, std::int64_t row_bytes) const {
    if (gated) {
      const std::int64_t at = task * row_bytes;
      return {{products[0].weight + at, products[1].weight + at}, 0, task, true};
    }
    int product = 0;
#pragma unroll
    for (int i = 0; i + 1 < Matvec::kMaxProducts; ++i) {
      if (product == i && i + 1 < count && task >= tasks_of(i)) {
        task -= tasks_of(i);
        product = i + 1;
      }
    }
    const std::byte* row = products[product].weight + 2 * task * row_bytes;
    return {{row, row + row_bytes}, product, 2 * task, 2 * task + 1 < products[product].outer};
  }

  // `sums` of both rows for one token, the same in every lane.
  __device__ void store(const MatvecRows& rows, int token, float first, float second) const {
    const Product& to = products[rows.product];
    const std::int64_t at = static_cast<std::int64_t>(token) * to.outer + rows.n;
    if (gated) {
      to.out[at] = first / (1.0f + expf(-first)) * second;
      return;
    }
    to.out[at] = first + (to.addend != nullptr ? to.addend[at] : 0.0f);
    if (rows.second) to.out[at + 1] = second + (to.addend != nullptr ? to.addend[at + 1] : 0.0f);
  }
};

// The outputs of a token that does not exist: what its products would have been added to.
__device__ inline void keep_addends(const MatvecTasks& tasks) {
  const int threads = static_cast<int>(gridDim.x * blockDim.x);
  const int thread = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  for (int p = 0; p < tasks.count; ++p) {
    const Product& to = tasks.products[p];
    if (to.addend == nullptr || to.addend == to.out) continue;
    for (int i = thread; i < to.outer; i += threads) to.out[i] = to.addend[i];
  }
}

inline MatvecTasks tasks_of(const Matvec& matvec) {
  MatvecTasks tasks{};
  for (int i = 0; i < matvec.count; ++i) tasks.products[i] = matvec.products[i];
  tasks.count = matvec.count;
  tasks.gated = matvec.gated;
  return tasks;
}

inline unsigned matvec_blocks(const MatvecTasks& tasks, const Matvec& matvec, int warps,
                              int per_multiprocessor) {
  // Of a single block, all multiprocessors have some warps before one has all of its own.
  return blocks_for(tasks.total(), per_multiprocessor == 1 ? 1 : warps,
                    static_cast<std::int64_t>(matvec.device.multiprocessors) * per_multiprocessor);
}

}  // namespace l2a::cuda
