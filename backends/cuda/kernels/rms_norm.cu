// y = x / sqrt(mean(x^2) + eps) * weight over the innermost extent. Short rows (heads) take a warp each, long ones a
// block; a thread four floats at a time where it can. Bound by memory: a read and a write of four bytes an element; the
// second pass over a row finds it in cache.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/rms_norm.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr int kWarpWidth = 512;  // elements up to which a warp takes a row

__device__ float square_sum(float v) { return v * v; }
__device__ float square_sum(float4 v) { return v.x * v.x + v.y * v.y + v.z * v.z + v.w * v.w; }
__device__ float scaled(float v, float scale, float weight) { return v * scale * weight; }
__device__ float4 scaled(float4 v, float scale, float4 weight) {
  return {v.x * scale * weight.x, v.y * scale * weight.y, v.z * scale * weight.z,
          v.w * scale * weight.w};
}

// `heads` rows of `width` vectors for each of the active tokens.
template <class Vector>
__global__ void norm_by_warp(const Vector* x, const Vector* weight, Vector* out, int tokens,
                             int heads, int width, float eps, const std::int32_t* rows) {
  constexpr int kFloats = sizeof(Vector) / sizeof(float);
  const std::int64_t count = static_cast<std::int64_t>(active_rows(rows, tokens)) * heads;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
       row < count; row += static_cast<std::int64_t>(gridDim.x) * kWarps) {
    const Vector* from = x + row * width;
    float sum = 0;
    for (int i = lane; i < width; i += 32) sum += square_sum(from[i]);
    const float scale = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(width * kFloats) + eps);
    for (int i = lane; i < width; i += 32) out[row * width + i] = scaled(from[i], scale, weight[i]);
  }
}

template <class Vector>
__global__ void norm_by_block(const Vector* x, const Vector* weight, Vector* out, int tokens,
                              int width, float eps, const std::int32_t* rows) {
  constexpr int kFloats = sizeof(Vector) / sizeof(float);
  const int count = active_rows(rows, tokens);
  for (int row = static_cast<int>(blockIdx.x); row < count; row += static_cast<int>(gridDim.x)) {
    const Vector* from = x + static_cast<std::int64_t>(row) * width;
    Vector* to = out + static_cast<std::int64_t>(row) * width;
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x))
      sum += square_sum(from[i]);
    const float scale = 1.0f / sqrtf(block_sum(sum) / static_cast<float>(width * kFloats) + eps);
    for (int i = static_cast<int>(threadIdx.x); i < width; i += static_cast<int>(blockDim.x))
      to[i] = scaled(from[i], scale, weight[i]);
  }
}

template <class Vector>
void launch(const CudaCall& call) {
  constexpr int kFloats = sizeof(Vector) / sizeof(float);
  const TensorView& x = call.inputs[RmsNorm::kX];
  const int tokens = static_cast<int>(x.shape[0]), width = static_cast<int>(x.shape.back());
  const int heads = x.shape.rank() == 3 ? static_cast<int>(x.shape[1]) : 1;
  const float eps = call.attributes<RmsNorm>().eps;
  const auto *from = call.in<Vector>(RmsNorm::kX), *weight = call.in<Vector>(RmsNorm::kWeight);
  const auto* rows = call.in<std::int32_t>(RmsNorm::kRows);
  if (heads > 1 || width <= kWarpWidth) {
    const unsigned blocks = blocks_for(static_cast<std::int64_t>(tokens) * heads, kWarps);
    norm_by_warp<<<blocks, kThreads, 0, call.stream>>>(from, weight, call.out<Vector>(), tokens,
                                                       heads, width / kFloats, eps, rows);
  } else {
    // A few vectors a thread.
    const int threads = width >= 4096 ? 2 * kThreads : kThreads;
    norm_by_block<<<blocks_for(tokens, 1), threads, 0, call.stream>>>(
        from, weight, call.out<Vector>(), tokens, width / kFloats, eps, rows);
  }
  check_launch("rms_norm");
}

void run(const CudaCall& call) {
  const bool vectors = call.output.shape.back() % 4 == 0 && aligned16(call.output.data) &&
                       aligned16(call.inputs[RmsNorm::kX].data) &&
                       aligned16(call.inputs[RmsNorm::kWeight].data);
  vectors ? launch<float4>(call) : launch<float>(call);
}

}  // namespace

const CudaKernel kRmsNorm = {RmsNorm::kName, run};

}  // namespace l2a::cuda
