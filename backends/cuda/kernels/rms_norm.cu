// y = x / sqrt(mean(x^2) + eps) * weight over the innermost extent. Short rows (heads) take a warp each, long ones a
// block. Bound by memory: a read and a write of four bytes an element; the second pass over a row finds it in cache.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/rms_norm.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kWarpWidth = 512;  // elements up to which a warp takes a row

// `heads` rows of `width` for each of the active tokens.
__global__ void norm_by_warp(const float* x, const float* weight, float* out, int tokens, int heads,
                             int width, float eps, const std::int32_t* rows) {
  const std::int64_t count = static_cast<std::int64_t>(active_rows(rows, tokens)) * heads;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
       row < count; row += static_cast<std::int64_t>(gridDim.x) * kWarps) {
    const float* from = x + row * width;
    float sum = 0;
    for (int i = lane; i < width; i += 32) sum += from[i] * from[i];
    const float scale = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(width) + eps);
    for (int i = lane; i < width; i += 32) out[row * width + i] = from[i] * scale * weight[i];
  }
}

__global__ void norm_by_block(const float* x, const float* weight, float* out, int tokens,
                              int width, float eps, const std::int32_t* rows) {
  const int count = active_rows(rows, tokens);
  for (int row = static_cast<int>(blockIdx.x); row < count; row += static_cast<int>(gridDim.x)) {
    const float* from = x + static_cast<std::int64_t>(row) * width;
    float* to = out + static_cast<std::int64_t>(row) * width;
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x))
      sum += from[i] * from[i];
    const float scale = 1.0f / sqrtf(block_sum(sum) / static_cast<float>(width) + eps);
    for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x))
      to[i] = from[i] * scale * weight[i];
  }
}

void run(const CudaCall& call) {
  const TensorView& x = call.inputs[RmsNorm::kX];
  const int tokens = static_cast<int>(x.shape[0]), width = static_cast<int>(x.shape.back());
  const int heads = x.shape.rank() == 3 ? static_cast<int>(x.shape[1]) : 1;
  const float eps = call.attributes<RmsNorm>().eps;
  const auto *from = call.in<float>(RmsNorm::kX), *weight = call.in<float>(RmsNorm::kWeight);
  const auto* rows = call.in<std::int32_t>(RmsNorm::kRows);
  if (heads > 1 || width <= kWarpWidth) {
    const unsigned blocks = blocks_for(static_cast<std::int64_t>(tokens) * heads, kWarps);
    norm_by_warp<<<blocks, kThreads, 0, call.stream>>>(from, weight, call.out<float>(), tokens,
                                                       heads, width, eps, rows);
  } else {
    const int threads = width >= 4096 ? 1024 : kThreads;
    norm_by_block<<<blocks_for(tokens, 1), threads, 0, call.stream>>>(
        from, weight, call.out<float>(), tokens, width, eps, rows);
  }
  check_launch("rms_norm");
}

}  // namespace

const CudaKernel kRmsNorm = {RmsNorm::kName, run};

}  // namespace l2a::cuda
