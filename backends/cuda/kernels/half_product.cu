// y = x w^T on the tensor cores, f16 or bf16 with f32 sums. A block computes 128 tokens by 128 outputs with four warps
// of 64 by 64, over slices of 64 of the inner extent: three slices in shared memory, two of them on their way while one
// is multiplied. Rows of a slice are 128 bytes; their 16-byte parts are permuted by the row's low three bits, so that
// no two rows of a matrix load meet in a bank. Blocks past a compact tensor's count end at once. Bound by arithmetic.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"
#include "backends/cuda/kernels/mma.cuh"

namespace l2a::cuda {
namespace {

constexpr int kTile = 128, kSlice = 64, kStages = 3, kThreads = 128;
constexpr int kOperandBytes = kTile * kSlice * 2;
constexpr int kSharedBytes = kStages * 2 * kOperandBytes;

// Where 16-byte part `part` of a row lies in a slice.
__device__ int place(int row, int part) { return row * 128 + ((part ^ (row & 7)) << 4); }

template <class T>
__global__ void __launch_bounds__(kThreads, 2) half_product_kernel(HalfProduct p) {
  extern __shared__ __align__(128) std::uint8_t shared[];
  const int count = active_rows(p.rows, p.tokens);
  const int first_token = static_cast<int>(blockIdx.x) * kTile;
  const int first_out = static_cast<int>(blockIdx.y) * kTile;
  if (first_token >= count) return;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const auto *x = static_cast<const T*>(p.x), *weight = static_cast<const T*>(p.weight);

  const int slices = (p.inner + kSlice - 1) / kSlice;
  auto fetch = [&](int slice) {
    if (slice < slices) {
      std::uint8_t* a = shared + slice % kStages * 2 * kOperandBytes;
      std::uint8_t* b = a + kOperandBytes;
      const int part = thread % 8, k = slice * kSlice + 8 * part;
#pragma unroll
      for (int i = 0; i < kTile * 8 / kThreads; ++i) {
        const int row = thread / 8 + i * (kThreads / 8);
        const int t = first_token + row, n = first_out + row;
        const bool has_x = t < count && k < p.inner, has_w = n < p.outer && k < p.inner;
        copy16_or_zero(a + place(row, part),
                       has_x ? x + static_cast<std::int64_t>(t) * p.inner + k : x, has_x);
        copy16_or_zero(b + place(row, part),
                       has_w ? weight + static_cast<std::int64_t>(n) * p.inner + k : weight, has_w);
      }
    }
    commit_copies();
  };
  for (int i = 0; i < kStages - 1; ++i) fetch(i);

  float sums[4][8][4] = {};
  const int warp_row = warp / 2 * 64, warp_column = warp % 2 * 64;
  for (int slice = 0; slice < slices; ++slice) {
    wait_copies<kStages - 2>();
    __syncthreads();
    fetch(slice + kStages - 1);
    const std::uint32_t a_base = shared_address(shared + slice % kStages * 2 * kOperandBytes);
    const std::uint32_t b_base = a_base + kOperandBytes;
#pragma unroll
    for (int k = 0; k < kSlice / 16; ++k) {
      std::uint32_t a[4][4];
#pragma unroll
      for (int i = 0; i < 4; ++i)
        load_matrices(a[i], a_base + place(warp_row + 16 * i + lane % 16, 2 * k + lane / 16));
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        std::uint32_t b[4];
        load_matrices(b, b_base + place(warp_column + 16 * j + lane % 8 + lane / 16 * 8,
                                        2 * k + lane / 8 % 2));
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          mma<T>(sums[i][2 * j], a[i], b[0], b[1]);
          mma<T>(sums[i][2 * j + 1], a[i], b[2], b[3]);
        }
      }
    }
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int t = first_token + warp_row + 16 * i + 8 * h + lane / 4;
      if (t >= count) continue;
      const float scale = p.scale != nullptr ? p.scale[t] : 1.0f;
      float* row = p.out + static_cast<std::int64_t>(t) * p.stride;
#pragma unroll
      for (int j = 0; j < 8; ++j) {
        const int n = first_out + warp_column + 8 * j + 2 * (lane % 4);
        const float low = sums[i][j][2 * h] * scale, high = sums[i][j][2 * h + 1] * scale;
        if (p.stride % 2 == 0 && n + 1 < p.outer) {
          *reinterpret_cast<float2*>(row + n) = {low, high};
        } else {
          if (n < p.outer) row[n] = low;
          if (n + 1 < p.outer) row[n + 1] = high;
        }
      }
    }
  }
}

template <class T>
void launch(const HalfProduct& product, cudaStream_t stream) {
  const auto kernel = half_product_kernel<T>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
        "matmul");
  // Tokens vary fastest: blocks that run together share the weights they read.
  const dim3 grid(static_cast<unsigned>((product.tokens + kTile - 1) / kTile),
                  static_cast<unsigned>((product.outer + kTile - 1) / kTile));
  kernel<<<grid, kThreads, kSharedBytes, stream>>>(product);
  check_launch("matmul");
}

}  // namespace

void half_product(const HalfProduct& product, cudaStream_t stream) {
  if (product.dtype == Dtype::f16) {
    launch<__half>(product, stream);
  } else {
    launch<__nv_bfloat16>(product, stream);
  }
}

}  // namespace l2a::cuda
