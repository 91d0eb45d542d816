// out = a + b, b a tensor or a bias of one row. One thread four floats; bound by memory: two reads and a write of four
// bytes an element.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/add.h"

namespace l2a::cuda {
namespace {

template <class Vector>
__device__ Vector plus(Vector a, Vector b);
template <>
__device__ float plus(float a, float b) {
  return a + b;
}
template <>
__device__ float4 plus(float4 a, float4 b) {
  return {a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w};
}

// Widths in vectors; b_stride is 0 for a bias.
template <class Vector>
__global__ void add_rows(const Vector* a, const Vector* b, Vector* out, int tokens, int width,
                         int b_stride, const std::int32_t* rows) {
  const std::int64_t count = static_cast<std::int64_t>(active_rows(rows, tokens)) * width;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    const std::int64_t from = b_stride == 0 ? i % width : i;
    out[i] = plus(a[i], b[from]);
  }
}

void run(const CudaCall& call) {
  const TensorView &a = call.inputs[Add::kA], &b = call.inputs[Add::kB];
  const int tokens = static_cast<int>(a.shape[0]), width = static_cast<int>(a.shape[1]);
  const bool bias = b.shape.rank() == 1;
  const auto* rows = call.in<std::int32_t>(Add::kRows);
  constexpr int kThreads = 256;
  const bool vectors =
      width % 4 == 0 && aligned16(a.data) && aligned16(b.data) && aligned16(call.output.data);
  if (vectors) {
    const int quads = width / 4;
    const unsigned blocks = blocks_for(static_cast<std::int64_t>(tokens) * quads, kThreads);
    add_rows<float4><<<blocks, kThreads, 0, call.stream>>>(
        call.in<float4>(Add::kA), call.in<float4>(Add::kB), call.out<float4>(), tokens, quads,
        bias ? 0 : quads, rows);
  } else {
    const unsigned blocks = blocks_for(static_cast<std::int64_t>(tokens) * width, kThreads);
    add_rows<float><<<blocks, kThreads, 0, call.stream>>>(
        call.in<float>(Add::kA), call.in<float>(Add::kB), call.out<float>(), tokens, width,
        bias ? 0 : width, rows);
  }
  check_launch("add");
}

}  // namespace

const CudaKernel kAdd = {Add::kName, run};

}  // namespace l2a::cuda
