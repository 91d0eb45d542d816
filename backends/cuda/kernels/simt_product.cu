// Products with float weights of any size, all in f32: y = x w^T. A block computes 64 tokens by 64 outputs, a thread 4
// by 4 of them, over slices of 16 of the inner extent in shared memory. Bound by f32 arithmetic (67 TFLOP/s on an
// H200); for weights that nothing faster takes.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"

namespace l2a::cuda {
namespace {

constexpr int kTile = 64, kSlice = 16, kEach = 4, kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads)
    simt_product_kernel(const float* x, const T* weight, const float* addend, float* out,
                        int tokens, int inner, int outer, const std::int32_t* rows) {
  __shared__ float xs[kSlice][kTile + 1], ws[kSlice][kTile + 1];
  const int count = active_rows(rows, tokens);
  const int first_token = static_cast<int>(blockIdx.y) * kTile;
  const int first_out = static_cast<int>(blockIdx.x) * kTile;
  if (first_token >= count) return;
  const int thread = static_cast<int>(threadIdx.x);
  const int column = thread % 16, row = thread / 16;
  float sums[kEach][kEach] = {};
  for (int k0 = 0; k0 < inner; k0 += kSlice) {
    for (int i = thread; i < kSlice * kTile; i += kThreads) {
      const int k = k0 + i % kSlice, r = i / kSlice;
      const int t = first_token + r, n = first_out + r;
      xs[i % kSlice][r] = t < count && k < inner ? x[static_cast<std::int64_t>(t) * inner + k] : 0;
      ws[i % kSlice][r] =
          n < outer && k < inner ? to_float(weight[static_cast<std::int64_t>(n) * inner + k]) : 0;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kSlice; ++k) {
      float a[kEach], b[kEach];
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
        a[i] = xs[k][row + 16 * i];
        b[i] = ws[k][column + 16 * i];
      }
#pragma unroll
      for (int i = 0; i < kEach; ++i) {
#pragma unroll
        for (int j = 0; j < kEach; ++j) sums[i][j] += a[i] * b[j];
      }
    }
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) {
    const int t = first_token + row + 16 * i;
    if (t >= count) continue;
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int n = first_out + column + 16 * j;
      if (n >= outer) continue;
      const std::int64_t at = static_cast<std::int64_t>(t) * outer + n;
      out[at] = sums[i][j] + (addend != nullptr ? addend[at] : 0.0f);
    }
  }
}

template <class T>
void launch(const Columns& x, const Product& product, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>((product.outer + kTile - 1) / kTile),
                  static_cast<unsigned>((x.tokens + kTile - 1) / kTile));
  simt_product_kernel<<<grid, kThreads, 0, stream>>>(
      x.x, reinterpret_cast<const T*>(product.weight), product.addend, product.out, x.tokens,
      x.inner, product.outer, x.rows);
  check_launch("matmul");
}

}  // namespace

void simt_product(Dtype dtype, const Columns& x, const Product& product, cudaStream_t stream) {
  switch (dtype) {
    case Dtype::f16:
      return launch<__half>(x, product, stream);
    case Dtype::bf16:
      return launch<__nv_bfloat16>(x, product, stream);
    default:
      return launch<float>(x, product, stream);
  }
}

}  // namespace l2a::cuda
