// Products of up to eight tokens with f16, bf16 or f32 weights, in f32. A warp two rows, 16 bytes a lane a load, eight
// loads under way before the first is used; activations come from the first-level cache. Bound by reading the weights.
#include "backends/cuda/kernels/matvec.cuh"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 32 * kMatvecWarps, kBlocks = 4;  // blocks of a multiprocessor
constexpr int kUnroll = 4, kAhead = 8;                    // steps of a warp through a row

// Weights are read once: they need not push activations out of the cache.
__device__ uint4 stream16(const void* address) {
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(address));
  return v;
}

__device__ void prefetch(const void* address) {
  asm volatile("prefetch.global.L2 [%0];" ::"l"(address));
}

template <class T, int columns>
__global__ void __launch_bounds__(kThreads, columns == 1 ? kBlocks : 2)
    float_matvec_kernel(const __grid_constant__ MatvecTasks tasks, Columns x) {
  constexpr int kEach = 16 / sizeof(T);
  constexpr int kStep = 32 * kEach;
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const std::int64_t row_bytes = static_cast<std::int64_t>(x.inner) * sizeof(T);
  const int total = tasks.total();
  // What the first loads will ask for, on its way while an earlier kernel computes the activations. Not of a compact
  // tensor: with no row to multiply, nothing of the weights is read.
  const int first = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  if (x.rows == nullptr && first < total) {
    const MatvecRows rows = tasks.rows(first, row_bytes);
    for (int k = lane * kEach; k < min(x.inner, kAhead * kStep); k += kStep) {
      prefetch(rows.row[0] + k * sizeof(T));
      if (rows.second) prefetch(rows.row[1] + k * sizeof(T));
    }
  }
  wait_for_earlier();
  const int tokens = min(active_rows(x.rows, x.tokens), columns);
  if (tokens == 0) return;
  for (int task = first; task < total; task += kMatvecWarps * static_cast<int>(gridDim.x)) {
    const MatvecRows rows = tasks.rows(task, row_bytes);
    const std::byte* second = rows.second ? rows.row[1] : rows.row[0];
    float sums[2][columns] = {};
    for (int k0 = lane * kEach; k0 < x.inner; k0 += kUnroll * kStep) {
      uint4 weights[2][kUnroll];
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int k = k0 + u * kStep;
        const bool there = k < x.inner;
        weights[0][u] = there ? stream16(rows.row[0] + k * sizeof(T)) : uint4{};
        weights[1][u] = there ? stream16(second + k * sizeof(T)) : uint4{};
      }
#pragma unroll
      for (int u = 0; u < kUnroll; ++u) {
        const int k = k0 + u * kStep;
        if (k >= x.inner) break;
        const T* first_values = reinterpret_cast<const T*>(&weights[0][u]);
        const T* second_values = reinterpret_cast<const T*>(&weights[1][u]);
#pragma unroll
        for (int c = 0; c < columns; ++c) {
          if (c >= tokens) break;
          const float* from = x.x + static_cast<std::int64_t>(c) * x.inner + k;
#pragma unroll
          for (int quad = 0; quad < kEach / 4; ++quad) {
            const float4 v = *reinterpret_cast<const float4*>(from + 4 * quad);
            const float values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int j = 0; j < 4; ++j) {
              sums[0][c] += to_float(first_values[4 * quad + j]) * values[j];
              sums[1][c] += to_float(second_values[4 * quad + j]) * values[j];
            }
          }
        }
      }
    }
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      if (c >= tokens) break;
      const float a = warp_sum(sums[0][c]), b = warp_sum(sums[1][c]);
      if (lane == 0) tasks.store(rows, c, a, b);
    }
  }
}

template <class T>
void launch_type(const Matvec& matvec) {
  const MatvecTasks tasks = tasks_of(matvec);
  const auto launch = [&](auto kernel, int blocks) {
    launch_chained(
        {matvec_blocks(tasks, matvec, blocks), kThreads, 0, matvec.stream, matvec.device.chains()},
        kernel, tasks, matvec.columns);
  };
  if (matvec.columns.tokens == 1) {
    launch(float_matvec_kernel<T, 1>, kBlocks);
  } else {
    launch(float_matvec_kernel<T, kMatvecTokens>, 2);
  }
}

}  // namespace

void float_matvec(const Matvec& matvec) {
  switch (matvec.dtype) {
    case Dtype::f16:
      return launch_type<__half>(matvec);
    case Dtype::bf16:
      return launch_type<__nv_bfloat16>(matvec);
    default:
      return launch_type<float>(matvec);
  }
}

}  // namespace l2a::cuda
