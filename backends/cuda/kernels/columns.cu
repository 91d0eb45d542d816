// Activations as products read them: rounded to 8 bits in blocks of 32 (few tokens, quantized weights), or to f16 or
// bf16 rows (many tokens). Bound by memory: a read of four bytes a value, and a write of one or two.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kQuantizedEach = 4 * kThreads;  // values a block quantizes

// Four values a thread, eight threads a block of 32.
__global__ void quantize(const float* x, QuantizedColumns to, int tokens, int inner,
                         const std::int32_t* rows) {
  constexpr std::uint32_t kInfinity = 0x7f800000;
  constexpr std::uint32_t kTiny =
      0x0d800000;  // 2^-100: far below what a sum notices, and invertible
  const int token = static_cast<int>(blockIdx.y);
  if (token >= active_rows(rows, tokens)) return;
  const int at = static_cast<int>(blockIdx.x) * kQuantizedEach + 4 * static_cast<int>(threadIdx.x);
  const bool inside = at < inner;
  float v[4] = {};
  if (inside) {
    const float4 four =
        *reinterpret_cast<const float4*>(x + static_cast<std::int64_t>(token) * inner + at);
    v[0] = four.x, v[1] = four.y, v[2] = four.z, v[3] = four.w;
  }
  // As integers, magnitudes put infinity and NaN on top instead of losing them.
  std::uint32_t largest = 0;
#pragma unroll
  for (const float value : v) largest = max(largest, __float_as_uint(value) & 0x7fffffffu);
#pragma unroll
  for (int offset = 4; offset > 0; offset /= 2)
    largest = max(largest, __shfl_xor_sync(kAllLanes, largest, offset));
  float scale = 0, inverse = 0;
  if (largest >= kInfinity) {
    scale = __uint_as_float(0x7fffffff);
  } else if (largest >= kTiny) {
    scale = __uint_as_float(largest) / 127.0f;
    inverse = 127.0f / __uint_as_float(largest);
  }
  int total = 0;
  std::uint32_t packed = 0;
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    const int q = inverse == 0 ? 0 : __float2int_rn(v[j] * inverse);
    total += q;
    packed |= (static_cast<std::uint32_t>(q) & 0xffu) << (8 * j);
  }
#pragma unroll
  for (int offset = 4; offset > 0; offset /= 2) total += __shfl_xor_sync(kAllLanes, total, offset);
  if (!inside) return;
  *reinterpret_cast<std::uint32_t*>(to.q + static_cast<std::int64_t>(token) * inner + at) = packed;
  if (threadIdx.x % 8 != 0) return;
  const std::int64_t block = (static_cast<std::int64_t>(token) * inner + at) / 32;
  to.scale[block] = scale;
  to.sum[block] = scale * static_cast<float>(total);
}

// A block a token. f16: divided by the largest magnitude, a power of two so that nothing is rounded twice.
template <class T>
__global__ void round_rows(const float* x, T* out, float* scale, int tokens, int inner,
                           const std::int32_t* rows) {
  __shared__ float parts[32];
  const int token = static_cast<int>(blockIdx.x);
  if (token >= active_rows(rows, tokens)) return;
  const float* from = x + static_cast<std::int64_t>(token) * inner;
  T* to = out + static_cast<std::int64_t>(token) * inner;
  float inverse = 1;
  if (scale != nullptr) {
    float largest = 0;
    for (int i = static_cast<int>(threadIdx.x); i < inner; i += kThreads)
      largest = fmaxf(largest, fabsf(from[i]));
    largest = warp_max(largest);
    const int lane = static_cast<int>(threadIdx.x) % 32;
    if (lane == 0) parts[threadIdx.x / 32] = largest;
    __syncthreads();
    largest = warp_max(lane < kThreads / 32 ? parts[lane] : 0.0f);
    // 2^e with largest <= 2^e; within what floats invert. Infinite and NaN rows stay what they are.
    const int exponent = min(max(ilogbf(largest) + 1, -100), 100);
    const bool usual = largest > 0 && largest < __uint_as_float(0x7f800000);
    inverse = usual ? exp2f(static_cast<float>(-exponent)) : 1.0f;
    if (threadIdx.x == 0) scale[token] = usual ? exp2f(static_cast<float>(exponent)) : 1.0f;
  }
  for (int i = static_cast<int>(threadIdx.x); i < inner; i += kThreads)
    to[i] = from_float<T>(from[i] * inverse);
}

}  // namespace

void quantize_columns(const Columns& x, const QuantizedColumns& to, cudaStream_t stream) {
  const dim3 grid(blocks_for(x.inner, kQuantizedEach), static_cast<unsigned>(x.tokens));
  quantize<<<grid, kThreads, 0, stream>>>(x.x, to, x.tokens, x.inner, x.rows);
  check_launch("matmul");
}

void half_columns(Dtype dtype, const Columns& x, void* out, float* scale, cudaStream_t stream) {
  const auto tokens = static_cast<unsigned>(x.tokens);
  if (dtype == Dtype::f16) {
    round_rows<<<tokens, kThreads, 0, stream>>>(x.x, static_cast<__half*>(out), scale, x.tokens,
                                                x.inner, x.rows);
  } else {
    round_rows<<<tokens, kThreads, 0, stream>>>(x.x, static_cast<__nv_bfloat16*>(out), nullptr,
                                                x.tokens, x.inner, x.rows);
  }
  check_launch("matmul");
}

}  // namespace l2a::cuda
