// Bias, head norm, RoPE and cache append of a few tokens, a warp a head; of a single one decode_attention.cu does it.
// Bound by latency: a token's heads are some tens of KiB.
#include "backends/cuda/kernels/chain.cuh"
#include "backends/cuda/kernels/finish_heads.cuh"
#include "backends/cuda/kernels/q8_block.cuh"

namespace l2a::cuda {
namespace {

constexpr int kWarps = 4;

template <class T>
__global__ void __launch_bounds__(32 * kWarps) finish_heads_kernel(FinishHeads call) {
  let_later_start();
  wait_for_earlier();
  int head = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  const int token = static_cast<int>(blockIdx.y);
  if (head < call.query_heads) {
    float* to =
        call.query_out + (static_cast<std::int64_t>(token) * call.query_heads + head) * call.dim;
    finish_head<32>(call, call.query, token, call.query_heads, head, true,
                    [&](int place, float value) { to[place] = value; });
    return;
  }
  head -= call.query_heads;
  const bool key = head < call.key_heads;
  if (!key) head -= call.key_heads;
  if (head >= call.key_heads) return;
  const std::int64_t place = cache_head(call, token, head);
  if (place < 0) return;
  const HeadPart& part = key ? call.key : call.value;
  std::byte* const cache = key ? call.keys : call.values;
  if constexpr (std::is_same_v<T, BlockQ8_0>) {
    __shared__ float finished[kWarps][kMostHeadDims];
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
    finish_head<32>(call, part, token, call.key_heads, head, key,
                    [&](int d, float value) { finished[warp][d] = value; });
    __syncwarp();
    auto* const to = reinterpret_cast<std::uint8_t*>(cache) + place * (call.dim / 32) * sizeof(T);
    for (int b = 0; b < call.dim / 32; ++b)
      store_q8_0(finished[warp][32 * b + lane], to + b * sizeof(T));
  } else {
    T* const to = reinterpret_cast<T*>(cache) + place * call.dim;
    finish_head<32>(call, part, token, call.key_heads, head, key,
                    [&](int d, float value) { to[d] = from_float<T>(value); });
  }
}

}  // namespace

void finish_heads(const FinishHeads& call, const DeviceTraits& device, cudaStream_t stream) {
  const int heads = call.query_heads + 2 * call.key_heads;
  const ChainLaunch launch{dim3(static_cast<unsigned>((heads + kWarps - 1) / kWarps),
                                static_cast<unsigned>(call.tokens)),
                           32 * kWarps, 0, stream, device.chains()};
  if (call.cache == Dtype::f16) {
    launch_chained(launch, finish_heads_kernel<__half>, call);
  } else if (call.cache == Dtype::bf16) {
    launch_chained(launch, finish_heads_kernel<__nv_bfloat16>, call);
  } else if (call.cache == Dtype::q8_0) {
    launch_chained(launch, finish_heads_kernel<BlockQ8_0>, call);
  } else {
    launch_chained(launch, finish_heads_kernel<float>, call);
  }
}

}  // namespace l2a::cuda
