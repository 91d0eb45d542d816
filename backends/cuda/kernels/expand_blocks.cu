// Quantized weights as f16, for the tensor cores. A thread eight values, one 16-byte store; bound by memory: the blocks
// and two bytes a value. A value is d * q (and a minimum) in f32, rounded once.
#include "backends/cuda/kernels/blocks.cuh"
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 256;

template <Dtype dtype>
__global__ void expand(const std::uint8_t* blocks, uint4* out, std::int64_t groups) {
  using Format = Blocks<dtype>;
  constexpr int kGroups = Format::kElements / 8;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t g = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; g < groups;
       g += step) {
    float values[8];
    Format::eight(blocks + g / kGroups * Format::kBytes, static_cast<int>(g % kGroups), values);
    __half2 halves[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) halves[j] = __floats2half2_rn(values[2 * j], values[2 * j + 1]);
    out[g] = *reinterpret_cast<const uint4*>(halves);
  }
}

template <Dtype dtype>
void launch(const std::byte* weight, std::int64_t elements, void* out, cudaStream_t stream) {
  const std::int64_t groups = elements / 8;
  expand<dtype><<<blocks_for(groups, kThreads), kThreads, 0, stream>>>(
      reinterpret_cast<const std::uint8_t*>(weight), static_cast<uint4*>(out), groups);
  check_launch("matmul");
}

}  // namespace

void expand_blocks(Dtype dtype, const std::byte* weight, std::int64_t elements, void* out,
                   cudaStream_t stream) {
  visit_blocks(dtype, [&]<Dtype type>() { launch<type>(weight, elements, out, stream); });
}

}  // namespace l2a::cuda
