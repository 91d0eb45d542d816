// Caches of q8_0 as f16, for attention. A thread eight values; bound by memory: a byte read and two written a value, of the
// positions that are in use.
#include "backends/cuda/kernels/attention_parts.h"
#include "backends/cuda/kernels/blocks.cuh"
#include "backends/cuda/kernels/device_math.cuh"
#include "ops/attention.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 256;
constexpr std::size_t kAlign = 256;
constexpr int kCopied[] = {Attention::kKeys, Attention::kValues, Attention::kFreshKeys,
                           Attention::kFreshValues};

// Rows of eight values `width` times; `positions` null: all of them.
__global__ void __launch_bounds__(kThreads)
    expand_cache(const std::uint8_t* blocks, uint4* out, int width, int slots, int tokens,
                 const std::int32_t* positions, const std::int32_t* rows) {
  using Format = Blocks<Dtype::q8_0>;
  if (rows != nullptr && rows[0] == 0) return;
  const int used = positions != nullptr ? min(slots, positions[0] + tokens) : slots;
  const std::int64_t groups = static_cast<std::int64_t>(used) * width;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t g = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; g < groups;
       g += step) {
    float values[8];
    Format::eight(blocks + g / 4 * Format::kBytes, static_cast<int>(g % 4), values);
    __half2 halves[4];
#pragma unroll
    for (int j = 0; j < 4; ++j) halves[j] = __floats2half2_rn(values[2 * j], values[2 * j + 1]);
    out[g] = *reinterpret_cast<const uint4*>(halves);
  }
}

}  // namespace

BlockCaches::BlockCaches(const CudaCall& call)
    : call_(call), inputs_(call.inputs.begin(), call.inputs.end()) {
  if (!dtype_info(call.inputs[Attention::kKeys].dtype).quantized) return;
  for (const int i : kCopied) {
    TensorView& input = inputs_[static_cast<std::size_t>(i)];
    if (input.data == nullptr) continue;
    input.dtype = Dtype::f16;
    input.strides = contiguous_strides(Dtype::f16, input.shape);
    input.data = call.workspace + bytes_;
    bytes_ += (dtype_bytes(Dtype::f16, input.shape.elements()) + kAlign - 1) / kAlign * kAlign;
  }
}

CudaCall BlockCaches::copied() const {
  return {call_.op,      inputs_,      call_.output,
          call_.device,  call_.stream, call_.workspace + bytes_,
          call_.counters};
}

void BlockCaches::copy() const {
  if (bytes_ == 0) return;
  const auto tokens = static_cast<int>(call_.inputs[Attention::kQuery].shape[0]);
  for (const int i : kCopied) {
    const TensorView& from = call_.inputs[static_cast<std::size_t>(i)];
    if (from.data == nullptr) continue;
    const bool fresh = i == Attention::kFreshKeys || i == Attention::kFreshValues;
    const int width = static_cast<int>(from.shape[1] * from.shape[2] / 8);
    expand_cache<<<blocks_for(from.shape[0] * width, kThreads, 8192), kThreads, 0, call_.stream>>>(
        reinterpret_cast<const std::uint8_t*>(from.data),
        reinterpret_cast<uint4*>(inputs_[static_cast<std::size_t>(i)].data), width,
        static_cast<int>(from.shape[0]), tokens,
        fresh ? nullptr : call_.in<std::int32_t>(Attention::kPositions),
        call_.in<std::int32_t>(Attention::kRows));
    check_launch("attention");
  }
}

}  // namespace l2a::cuda
