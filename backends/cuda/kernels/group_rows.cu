// Weights and activations as int8 with a scale for every 128 values of a row, for the tensor cores. Sixteen threads a
// group, eight values each; bound by memory: what is read, and a byte and a bit a value.
#include "backends/cuda/kernels/blocks.cuh"
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 256, kEach = 8, kSharers = kGroup / kEach;

// Where values come from: eight of them, at `element` of all.
struct Floats {
  const float* x;
  __device__ void eight(std::int64_t element, float (&v)[kEach]) const {
    const auto* from = reinterpret_cast<const float4*>(x + element);
    const float4 low = from[0], high = from[1];
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
  }
};
template <Dtype dtype>
struct Weights {
  const std::uint8_t* blocks;
  __device__ void eight(std::int64_t element, float (&v)[kEach]) const {
    using Format = Blocks<dtype>;
    Format::eight(blocks + element / Format::kElements * Format::kBytes,
                  static_cast<int>(element % Format::kElements) / kEach, v);
  }
};

template <class Source>
__global__ void __launch_bounds__(kThreads)
    group_rows(Source source, GroupedRows to, int most_rows, int inner, const std::int32_t* rows) {
  constexpr std::uint32_t kInfinity = 0x7f800000;
  constexpr std::uint32_t kTiny =
      0x0d800000;  // 2^-100: far below what a sum notices, and invertible
  const int groups = (inner + kGroup - 1) / kGroup, count = active_rows(rows, most_rows) * groups;
  const int sharer = static_cast<int>(threadIdx.x) % kSharers;
  const std::uint32_t sharers = 0xffffu << (threadIdx.x % 32 / kSharers * kSharers);
  constexpr int kGroupsOfBlock = kThreads / kSharers;
  const int step = static_cast<int>(gridDim.x) * kGroupsOfBlock;
  for (int i =
           static_cast<int>(blockIdx.x) * kGroupsOfBlock + static_cast<int>(threadIdx.x) / kSharers;
       i < count; i += step) {
    const int row = i / groups, group = i % groups, at = group * kGroup + sharer * kEach;
    const std::int64_t element = static_cast<std::int64_t>(row) * inner + at;
    float v[kEach] = {};
    if (at < inner) source.eight(element, v);
    // As integers, magnitudes put infinity and NaN on top instead of losing them.
    std::uint32_t largest = 0;
#pragma unroll
    for (const float value : v) largest = max(largest, __float_as_uint(value) & 0x7fffffffu);
#pragma unroll
    for (int offset = kSharers / 2; offset > 0; offset /= 2)
      largest = max(largest, __shfl_xor_sync(sharers, largest, offset));
    float scale = 0, inverse = 0;
    if (largest >= kInfinity) {
      scale = __uint_as_float(0x7fffffff);
    } else if (largest >= kTiny) {
      scale = __uint_as_float(largest) / 127.0f;
      inverse = 127.0f / __uint_as_float(largest);
    }
    std::uint32_t packed[2] = {};
#pragma unroll
    for (int j = 0; j < kEach; ++j) {
      const int q = inverse == 0 ? 0 : __float2int_rn(v[j] * inverse);
      packed[j / 4] |= (static_cast<std::uint32_t>(q) & 0xffu) << (8 * (j % 4));
    }
    if (at < inner) *reinterpret_cast<uint2*>(to.q + element) = {packed[0], packed[1]};
    if (sharer == 0) to.scale[static_cast<std::int64_t>(group) * to.stride + row] = scale;
  }
}

template <class Source>
void launch(const Source& source, const GroupedRows& to, int most_rows, int inner,
            const std::int32_t* rows, cudaStream_t stream) {
  const std::int64_t threads =
      static_cast<std::int64_t>(most_rows) * GroupedRows::groups(inner) * kSharers;
  group_rows<<<blocks_for(threads, kThreads), kThreads, 0, stream>>>(source, to, most_rows, inner,
                                                                     rows);
  check_launch("matmul");
}

}  // namespace

void group_columns(const Columns& x, const GroupedRows& to, cudaStream_t stream) {
  launch(Floats{x.x}, to, x.tokens, x.inner, x.rows, stream);
}

void group_blocks(Dtype dtype, const std::byte* weight, int rows, int inner, const GroupedRows& to,
                  cudaStream_t stream) {
  const auto* blocks = reinterpret_cast<const std::uint8_t*>(weight);
  visit_blocks(dtype, [&]<Dtype type>() {
    launch(Weights<type>{blocks}, to, rows, inner, nullptr, stream);
  });
}

}  // namespace l2a::cuda
