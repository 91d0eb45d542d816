// Attention in plain f32 for what the tensor-core kernels do not take: f32 caches and other head sizes. A block a row and
// query head; its eight warps take every eighth key with a running softmax (arXiv 2205.14135), lanes side by side over
// the head's dimensions, and meet in shared memory at the end. Bound by arithmetic: a reduction over lanes a key.
#include "backends/cuda/kernels/attention_keys.cuh"
#include "backends/cuda/kernels/attention_parts.h"

namespace l2a::cuda {
namespace {

constexpr int kWarps = 8, kMostDims = 256, kEach = kMostDims / 32;

template <class T>
__global__ void __launch_bounds__(32 * kWarps) plain_attention_kernel(AttentionArguments a) {
  __shared__ float largest_of[kWarps], sum_of[kWarps], out_of[kWarps][kMostDims];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int row = static_cast<int>(blockIdx.x), head = static_cast<int>(blockIdx.y);
  if (row >= active_rows(a.rows, a.tokens)) return;
  const int start = a.positions[0], key_head = head / a.group();
  const RowView view = row_view(a, start, row);
  const std::int64_t at = (static_cast<std::int64_t>(row) * a.query_heads + head) * a.dim;
  float q[kEach], out[kEach] = {};
#pragma unroll
  for (int i = 0; i < kEach; ++i) q[i] = lane + 32 * i < a.dim ? a.query[at + lane + 32 * i] : 0.0f;
  float largest = -INFINITY, sum = 0;
  const int sinks_end = min(a.sinks, view.begin);
  const int count = sinks_end + view.position + 1 - view.begin;
  for (int n = warp; n < count; n += kWarps) {
    const int key = n < sinks_end ? n : view.begin + n - sinks_end;
    const auto [k, v] = key_value<T>(a, start, key, key_head);
    float dot = 0;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (lane + 32 * i < a.dim) dot += q[i] * to_float(k[lane + 32 * i]);
    }
    const float score = warp_sum(dot) * a.scale;
    const float now = fmaxf(largest, score);
    const float rescale = expf(largest - now), p = expf(score - now);
    sum = sum * rescale + p;
    largest = now;
#pragma unroll
    for (int i = 0; i < kEach; ++i) {
      if (lane + 32 * i < a.dim) out[i] = out[i] * rescale + p * to_float(v[lane + 32 * i]);
    }
  }
  if (lane == 0) {
    largest_of[warp] = largest;
    sum_of[warp] = sum;
  }
#pragma unroll
  for (int i = 0; i < kEach; ++i) out_of[warp][lane + 32 * i] = out[i];
  __syncthreads();
  float all = -INFINITY, total = 0, weight[kWarps];
#pragma unroll
  for (int w = 0; w < kWarps; ++w) all = fmaxf(all, largest_of[w]);
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    weight[w] = expf(largest_of[w] - all);
    total += weight[w] * sum_of[w];
  }
  for (int d = static_cast<int>(threadIdx.x); d < a.dim; d += 32 * kWarps) {
    float mixed = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) mixed += weight[w] * out_of[w][d];
    a.out[at + d] = mixed / total;
  }
}

}  // namespace

void plain_attention(Dtype cache, const AttentionArguments& a, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(a.tokens), static_cast<unsigned>(a.query_heads));
  if (cache == Dtype::f16) {
    plain_attention_kernel<__half><<<grid, 32 * kWarps, 0, stream>>>(a);
  } else if (cache == Dtype::bf16) {
    plain_attention_kernel<__nv_bfloat16><<<grid, 32 * kWarps, 0, stream>>>(a);
  } else {
    plain_attention_kernel<float><<<grid, 32 * kWarps, 0, stream>>>(a);
  }
  check_launch("attention");
}

}  // namespace l2a::cuda
