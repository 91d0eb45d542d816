// Products of up to eight tokens with f16, bf16 or f32 weights, in f32. A warp two rows, 16 bytes a lane a load, eight
// loads under way before the first is used; activations come from shared memory, those of several tokens from the
// first-level cache. Bound by reading the weights.
#include "backends/cuda/kernels/matvec.cuh"
#include "backends/cuda/kernels/one_token.cuh"

namespace l2a::cuda {
namespace {

constexpr int kUnroll = 4, kAhead = 8;  // steps of a warp through a row
// Of a block; a single token has one block a multiprocessor, so that its activations are prepared once there.
template <int columns>
constexpr int kWarps = columns > 1 ? 8 : 32;
template <int columns>
constexpr int kBlocks = columns > 1 ? 2 : 1;

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
__global__ void __launch_bounds__(32 * kWarps<columns>, kBlocks<columns>)
    float_matvec_kernel(const __grid_constant__ MatvecTasks tasks, Columns x,
                        const __grid_constant__ Preparation preparation) {
  constexpr int kEach = 16 / sizeof(T);
  constexpr int kStep = 32 * kEach;
  extern __shared__ __align__(16) float prepared[];
  let_later_start();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int stride = kWarps<columns> * static_cast<int>(gridDim.x);
  const std::int64_t row_bytes = static_cast<std::int64_t>(x.inner) * sizeof(T);
  int total = tasks.total(columns > 1 || !preparation.router.spares_last);
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
  [[maybe_unused]] const NormWeights norm(preparation, columns == 1 ? x.inner : 0);
  wait_for_earlier();
  const int tokens = min(active_rows(x.rows, x.tokens), columns);
  if (tokens == 0) return keep_addends(tasks);
  const float* activations = x.x;
  if constexpr (columns == 1) {
    const bool routed = prepare_token(
        preparation, norm, x.x, x.inner, [] {},
        [&](const float(&v)[4], bool inside, int at) {
          if (inside) *reinterpret_cast<float4*>(prepared + at) = {v[0], v[1], v[2], v[3]};
        });
    if (routed) total = tasks.total();
    activations = prepared;
  }
  for (int task = first; task < total; task += stride) {
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
          const float* from = activations + static_cast<std::int64_t>(c) * x.inner + k;
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

template <class T, int columns>
void launch_columns(const Matvec& matvec) {
  const auto kernel = float_matvec_kernel<T, columns>;
  const std::size_t bytes =
      columns == 1 ? static_cast<std::size_t>(matvec.columns.inner) * sizeof(float) : 0;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             static_cast<int>(bytes)),
        "matmul");
  const MatvecTasks tasks = tasks_of(matvec);
  launch_chained({matvec_blocks(tasks, matvec, kWarps<columns>, kBlocks<columns>),
                  32 * kWarps<columns>, bytes, matvec.stream, matvec.device.chains()},
                 kernel, tasks, matvec.columns, matvec.preparation);
}

template <class T>
void launch_type(const Matvec& matvec) {
  if (prepares_token(matvec.dtype, matvec.columns.tokens, matvec.columns.inner, matvec.device)) {
    launch_columns<T, 1>(matvec);
  } else {
    launch_columns<T, kMatvecTokens>(matvec);
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
