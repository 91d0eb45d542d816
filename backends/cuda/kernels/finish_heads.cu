// Bias, head norm, RoPE and cache append of a few tokens. A warp a head, pairs of RoPE side by side over its lanes.
// Bound by latency: a token's heads are some tens of KiB.
#include "backends/cuda/kernels/chain.cuh"
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/fused_parts.h"

namespace l2a::cuda {
namespace {

constexpr int kWarps = 4, kPairs = kMostHeadDims / 2 / 32;  // pairs a lane holds at most

template <class T>
__global__ void __launch_bounds__(32 * kWarps) finish_heads_kernel(FinishHeads call) {
  let_later_start();
  wait_for_earlier();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int head = static_cast<int>(blockIdx.x * kWarps + threadIdx.x / 32);
  const int token = static_cast<int>(blockIdx.y), pairs = call.dim / 2;
  enum { kQuery, kKey, kValue } kind = kQuery;
  HeadPart part = call.query;
  int heads = call.query_heads;
  if (head >= heads) {
    head -= heads;
    heads = call.key_heads;
    kind = kKey;
    part = call.key;
    if (head >= heads) {
      head -= heads;
      kind = kValue;
      part = call.value;
    }
  }
  if (head >= heads) return;

  const float* from = part.x + (static_cast<std::int64_t>(token) * heads + head) * call.dim;
  float a[kPairs], b[kPairs], sum = 0;
  int first[kPairs], second[kPairs];
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    const int pair = lane + 32 * i;
    first[i] = call.half ? pair : 2 * pair;
    second[i] = call.half ? pair + pairs : 2 * pair + 1;
    a[i] = b[i] = 0;
    if (pair >= pairs) continue;
    a[i] = from[first[i]];
    b[i] = from[second[i]];
    if (part.bias != nullptr) {
      a[i] += part.bias[head * call.dim + first[i]];
      b[i] += part.bias[head * call.dim + second[i]];
    }
    sum += a[i] * a[i] + b[i] * b[i];
  }
  if (part.norm != nullptr) {
    const float scale = 1.0f / sqrtf(warp_sum(sum) / static_cast<float>(call.dim) + call.eps);
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (lane + 32 * i >= pairs) continue;
      a[i] *= scale * part.norm[first[i]];
      b[i] *= scale * part.norm[second[i]];
    }
  }
  if (kind != kValue) {
    const auto* table =
        reinterpret_cast<const float2*>(call.table) + static_cast<std::int64_t>(token) * pairs;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (lane + 32 * i >= pairs) continue;
      const float2 turn = table[lane + 32 * i];
      const float left = a[i] * turn.x - b[i] * turn.y;
      b[i] = b[i] * turn.x + a[i] * turn.y;
      a[i] = left;
    }
  }
  if (kind == kQuery) {
    float* to = call.query_out + (static_cast<std::int64_t>(token) * heads + head) * call.dim;
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      if (lane + 32 * i >= pairs) continue;
      to[first[i]] = a[i];
      to[second[i]] = b[i];
    }
    return;
  }
  // As kv_append.cu: a token whose slot a later one takes is left out.
  const int position = call.positions[token], ring = call.capacity - call.sinks;
  if (position >= call.sinks && call.tokens - token > ring) return;
  const int slot = position < call.sinks ? position : call.sinks + (position - call.sinks) % ring;
  T* to = reinterpret_cast<T*>(kind == kKey ? call.keys : call.values) +
          (static_cast<std::int64_t>(slot) * heads + head) * call.dim;
#pragma unroll
  for (int i = 0; i < kPairs; ++i) {
    if (lane + 32 * i >= pairs) continue;
    to[first[i]] = from_float<T>(a[i]);
    to[second[i]] = from_float<T>(b[i]);
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
  } else {
    launch_chained(launch, finish_heads_kernel<float>, call);
  }
}

}  // namespace l2a::cuda
