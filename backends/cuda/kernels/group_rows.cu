// Weights and activations as int8 with a scale for every 256 values of a row, for the tensor cores. Sixteen threads a
// group, sixteen values each; bound by memory: what is read, and a byte and a bit a value.
#include "backends/cuda/kernels/blocks.cuh"
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 256, kEach = 16, kSharers = kGroup / kEach;

// Where values come from: eight of them, from `element` of all on.
struct Floats {
  const float* x;
  __device__ void eight(std::int64_t element, float* v) const {
    const auto* from = reinterpret_cast<const float4*>(x + element);
    const float4 low = from[0], high = from[1];
    v[0] = low.x, v[1] = low.y, v[2] = low.z, v[3] = low.w;
    v[4] = high.x, v[5] = high.y, v[6] = high.z, v[7] = high.w;
  }
};
template <Dtype dtype>
struct Weights {
  const std::uint8_t* blocks;
  __device__ void eight(std::int64_t element, float* v) const {
    using Format = Blocks<dtype>;
    Format::eight(blocks + element / Format::kElements * Format::kBytes,
                  static_cast<int>(element % Format::kElements) / 8, v);
  }
};

// The low byte is v to the nearest integer, for small v: sums with 1.5 * 2^23 have no bits for less. A conversion would be
// slower (small_float).
__device__ inline std::uint32_t nearest_bits(float v) { return __float_as_uint(v + 12582912.0f); }

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
    if (at < inner) {
      source.eight(element, v);
      source.eight(element + 8, v + 8);
    }
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
      scale = __uint_as_float(largest) * (1.0f / 127.0f);
      inverse = __fdividef(127.0f, __uint_as_float(largest));
    }
    std::uint32_t packed[kEach / 4];
#pragma unroll
    for (int j = 0; j < kEach / 4; ++j) {
      std::uint32_t q[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) q[i] = nearest_bits(v[4 * j + i] * inverse);
      packed[j] =
          __byte_perm(__byte_perm(q[0], q[1], 0x0040), __byte_perm(q[2], q[3], 0x0040), 0x5410);
    }
    if (inverse == 0) packed[0] = packed[1] = packed[2] = packed[3] = 0;
    if (at < inner)
      *reinterpret_cast<uint4*>(to.q + element) = {packed[0], packed[1], packed[2], packed[3]};
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
