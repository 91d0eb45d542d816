// rms_norm of a few rows, in f32 and rounded to 8 bits, so that the products after it need no launch for that. A block a
// row; a thread keeps its values in registers between the sum and the scaling. Bound by latency: one row is 16 KiB.
#include "backends/cuda/kernels/chain.cuh"
#include "backends/cuda/kernels/fused_parts.h"
#include "backends/cuda/kernels/quantize.cuh"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 1024, kQuads = kMostNormWidth / (4 * kThreads);

__global__ void __launch_bounds__(kThreads) norm_quantize_kernel(NormQuantize call) {
  let_later_start();
  wait_for_earlier();
  const int token = static_cast<int>(blockIdx.x), inner = call.x.inner;
  if (token >= active_rows(call.x.rows, call.x.tokens)) return;
  const std::int64_t row = static_cast<std::int64_t>(token) * inner;
  float v[kQuads][4];
  float sum = 0;
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    const int at = 4 * (i * kThreads + static_cast<int>(threadIdx.x));
    const float4 four =
        at < inner ? *reinterpret_cast<const float4*>(call.x.x + row + at) : float4{};
    v[i][0] = four.x, v[i][1] = four.y, v[i][2] = four.z, v[i][3] = four.w;
#pragma unroll
    for (const float value : v[i]) sum += value * value;
  }
  const float scale = 1.0f / sqrtf(block_sum(sum) / static_cast<float>(inner) + call.eps);
#pragma unroll
  for (int i = 0; i < kQuads; ++i) {
    if (4 * i * kThreads >= inner) break;
    const int at = 4 * (i * kThreads + static_cast<int>(threadIdx.x));
    const bool inside = at < inner;
    if (inside) {
      const float4 w = *reinterpret_cast<const float4*>(call.weight + at);
      v[i][0] *= scale * w.x, v[i][1] *= scale * w.y, v[i][2] *= scale * w.z,
          v[i][3] *= scale * w.w;
      *reinterpret_cast<float4*>(call.out + row + at) = {v[i][0], v[i][1], v[i][2], v[i][3]};
    }
    if (call.quantized.q != nullptr) quantize_four(v[i], inside, call.quantized, token, inner, at);
  }
}

}  // namespace

void norm_quantize(const NormQuantize& call, const DeviceTraits& device, cudaStream_t stream) {
  launch_chained({static_cast<unsigned>(call.x.tokens), kThreads, 0, stream, device.chains()},
                 norm_quantize_kernel, call);
}

}  // namespace l2a::cuda
