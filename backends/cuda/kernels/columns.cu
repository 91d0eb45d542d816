// Activations as products read them: rounded to 8 bits in blocks of 32 (few tokens, quantized weights), or to f16 or
// bf16 rows (many tokens). Bound by memory: a read of four bytes a value, and a write of one or two.
#include "backends/cuda/kernels/chain.cuh"
#include "backends/cuda/kernels/mma.cuh"
#include "backends/cuda/kernels/quantize.cuh"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kQuantizedEach = 4 * kThreads;  // values a block quantizes

__global__ void __launch_bounds__(kThreads)
    quantize(const float* x, QuantizedColumns to, int tokens, int inner, const std::int32_t* rows) {
  let_later_start();
  wait_for_earlier();
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
  quantize_four(v, inside, to, token, inner, at);
}

// A block a token, a thread eight values at a time. f16: divided by the largest magnitude, a power of two so that
// nothing is rounded twice.
template <class T>
__global__ void __launch_bounds__(kThreads)
    round_rows(const float* x, T* out, float* scale, int tokens, int inner,
               const std::int32_t* rows) {
  __shared__ float parts[32];
  const int token = static_cast<int>(blockIdx.x);
  if (token >= active_rows(rows, tokens)) return;
  const auto* from = reinterpret_cast<const float4*>(x + static_cast<std::int64_t>(token) * inner);
  auto* to = reinterpret_cast<uint4*>(out + static_cast<std::int64_t>(token) * inner);
  const int eights = inner / 8;
  float inverse = 1;
  if (scale != nullptr) {
    float largest = 0;
    for (int i = static_cast<int>(threadIdx.x); i < 2 * eights; i += kThreads) {
      const float4 v = from[i];
      largest = fmaxf(fmaxf(fmaxf(largest, fabsf(v.x)), fmaxf(fabsf(v.y), fabsf(v.z))), fabsf(v.w));
    }
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
  for (int i = static_cast<int>(threadIdx.x); i < eights; i += kThreads) {
    const float4 low = from[2 * i], high = from[2 * i + 1];
    to[i] = {pack<T>(low.x * inverse, low.y * inverse), pack<T>(low.z * inverse, low.w * inverse),
             pack<T>(high.x * inverse, high.y * inverse),
             pack<T>(high.z * inverse, high.w * inverse)};
  }
}

}  // namespace

void quantize_columns(const Columns& x, const QuantizedColumns& to, const DeviceTraits& device,
                      cudaStream_t stream) {
  const dim3 grid(blocks_for(x.inner, kQuantizedEach), static_cast<unsigned>(x.tokens));
  launch_chained({grid, kThreads, 0, stream, device.chains()}, quantize, x.x, to, x.tokens, x.inner,
                 x.rows);
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
