// Attention of many rows, bound by tensor-core arithmetic: 4 * D operations a visible key, row and head.
//
// A block takes 128 rows of one key head, where a row is a (token, query head) pair, so that all heads of the group
// share the keys it reads; routed rows are simply the tokens that the Rows lists. Four warps of 32 rows each go through
// the keys in blocks of 32 or 64, two in shared memory at a time, with a running softmax in registers (arXiv 2307.08691).
// Queries stay in shared memory: their registers hold the output. Blocks with the most keys start first.
#include "backends/cuda/kernels/attention_keys.cuh"
#include "backends/cuda/kernels/attention_parts.h"
#include "backends/cuda/kernels/mma.cuh"

namespace l2a::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kRowTiles = 2;  // of 16, a warp
constexpr int kRows = kWarps * kRowTiles * 16;
// Keys of a block: what the registers hold beside the output.
template <int dim>
constexpr int kKeysOf = dim == 128 ? 32 : 64;
static_assert(kRows == kThreads, "a thread looks up one row");
constexpr float kLog2e = 1.4426950408889634f;

template <int dim>
constexpr int shared_bytes() {
  return (kRows + 2 * 2 * kKeysOf<dim>)*2 * dim;
}

template <class T, int dim>
__global__ void __launch_bounds__(kThreads, 2) prefill_attention_kernel(AttentionArguments a) {
  constexpr int kRowBytes = 2 * dim, kParts = dim / 8, kKeys = kKeysOf<dim>;
  extern __shared__ __align__(128) std::uint8_t shared[];
  __shared__ RowView view_of[kRows];
  __shared__ int begin_of[kWarps], last_of[kWarps], mask_from_of[kWarps], mask_to_of[kWarps];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  const int head = static_cast<int>(blockIdx.y);
  const int tile = static_cast<int>(gridDim.x - 1 - blockIdx.x);
  const int group = a.group(), start = a.positions[0];
  const int count = active_rows(a.rows, a.tokens) * group;  // pairs
  const int first_pair = tile * kRows;
  if (first_pair >= count) return;
  auto place = [](int row, int part) { return row * kRowBytes + ((part ^ (row & 7)) << 4); };

  // Queries, rounded to the type of the cache.
  for (int i = thread; i < kRows * kParts; i += kThreads) {
    const int row = i / kParts, part = i % kParts, pair = first_pair + row;
    uint4 eight = {};
    if (pair < count) {
      const std::int64_t at =
          static_cast<std::int64_t>(pair / group) * a.query_heads + head * group + pair % group;
      const auto* from = reinterpret_cast<const float4*>(a.query + at * dim + 8 * part);
      const float4 low = from[0], high = from[1];
      eight = {pack<T>(low.x, low.y), pack<T>(low.z, low.w), pack<T>(high.x, high.y),
               pack<T>(high.z, high.w)};
    }
    *reinterpret_cast<uint4*>(shared + place(row, part)) = eight;
  }

  // What each row sees (a thread a row), and from there what the block does: keys [begin, last], of which those in
  // [mask_to, mask_from) are seen by every row.
  int begin = INT32_MAX, last = -1, mask_from = INT32_MAX, mask_to = 0;
  if (first_pair + thread < count) {
    view_of[thread] = row_view(a, start, (first_pair + thread) / group);
    begin = mask_to = view_of[thread].begin;
    last = view_of[thread].position;
    mask_from = last + 1;
  } else {
    view_of[thread] = {-1, 0};
  }
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    begin = min(begin, __shfl_xor_sync(kAllLanes, begin, offset));
    last = max(last, __shfl_xor_sync(kAllLanes, last, offset));
    mask_from = min(mask_from, __shfl_xor_sync(kAllLanes, mask_from, offset));
    mask_to = max(mask_to, __shfl_xor_sync(kAllLanes, mask_to, offset));
  }
  if (lane == 0) {
    begin_of[warp] = begin;
    last_of[warp] = last;
    mask_from_of[warp] = mask_from;
    mask_to_of[warp] = mask_to;
  }
  __syncthreads();
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    begin = min(begin, begin_of[w]);
    last = max(last, last_of[w]);
    mask_from = min(mask_from, mask_from_of[w]);
    mask_to = max(mask_to, mask_to_of[w]);
  }
  const KeyBlocks blocks = key_blocks(a, kKeys, begin, last);

  std::uint8_t* const ring = shared + kRows * kRowBytes;
  auto fetch = [&](int block) {
    if (block < blocks.count) {
      std::uint8_t* const keys = ring + block % 2 * 2 * kKeys * kRowBytes;
      std::uint8_t* const values = keys + kKeys * kRowBytes;
      const int first = blocks.key(block), part = thread % kParts;
#pragma unroll 1
      for (int i = 0; i < kKeys * kParts / kThreads; ++i) {
        const int in_block = thread / kParts + i * (kThreads / kParts), key = first + in_block;
        // What no row sees is zero: a weight of zero must not meet a NaN.
        const bool there = blocks.wanted(key);
        const int position = there ? key : last;
        const auto from = key_value<T>(a, start, position, head);
        copy16_or_zero(keys + place(in_block, part), from.key + 8 * part, there);
        copy16_or_zero(values + place(in_block, part), from.value + 8 * part, there);
      }
    }
    commit_copies();
  };
  fetch(0);

  const float to_log2 = a.scale * kLog2e;
  const std::uint32_t queries = shared_address(shared);
  float largest[kRowTiles][2], sum[kRowTiles][2] = {};
  float out[kRowTiles][dim / 8][4] = {};
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) largest[i][0] = largest[i][1] = -INFINITY;
  for (int block = 0; block < blocks.count; ++block) {
    wait_copies<0>();
    __syncthreads();
    fetch(block + 1);
    const std::uint32_t keys = shared_address(ring + block % 2 * 2 * kKeys * kRowBytes);
    const std::uint32_t values = keys + kKeys * kRowBytes;
    float scores[kRowTiles][kKeys / 8][4] = {};
#pragma unroll
    for (int k = 0; k < dim / 16; ++k) {
      std::uint32_t q[kRowTiles][4];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i)
        load_matrices(q[i],
                      queries + place((warp * kRowTiles + i) * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
      for (int j = 0; j < kKeys / 16; ++j) {
        std::uint32_t b[4];
        load_matrices(b, keys + place(16 * j + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i) {
          mma<T>(scores[i][2 * j], q[i], b[0], b[1]);
          mma<T>(scores[i][2 * j + 1], q[i], b[2], b[3]);
        }
      }
    }
    const int first = blocks.key(block);
    const bool masked = first + kKeys > mask_from || first < mask_to;
#pragma unroll
    for (int i = 0; i < kRowTiles; ++i) {
      float now[2] = {largest[i][0], largest[i][1]}, shift[2], rescale[2];
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          if (masked) {
            const int key = first + 8 * j + 2 * (lane % 4) + e % 2;
            const RowView& view = view_of[(warp * kRowTiles + i) * 16 + 8 * (e / 2) + lane / 4];
            if (!view.sees(key, a.sinks)) scores[i][j][e] = -INFINITY;
          }
          now[e / 2] = fmaxf(now[e / 2], scores[i][j][e]);
        }
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        now[h] = fmaxf(now[h], __shfl_xor_sync(kAllLanes, now[h], 1));
        now[h] = fmaxf(now[h], __shfl_xor_sync(kAllLanes, now[h], 2));
        // A row that has seen nothing yet keeps a finite shift, so that nothing becomes NaN.
        shift[h] = now[h] == -INFINITY ? 0.0f : now[h] * to_log2;
        rescale[h] = exp2f(largest[i][h] * to_log2 - shift[h]);
        largest[i][h] = now[h];
        sum[i][h] *= rescale[h];
      }
#pragma unroll
      for (int j = 0; j < kKeys / 8; ++j) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          scores[i][j][e] = exp2f(scores[i][j][e] * to_log2 - shift[e / 2]);
          sum[i][e / 2] += scores[i][j][e];
        }
      }
#pragma unroll
      for (int d = 0; d < dim / 8; ++d) {
#pragma unroll
        for (int e = 0; e < 4; ++e) out[i][d][e] *= rescale[e / 2];
      }
    }
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      std::uint32_t p[kRowTiles][4];
#pragma unroll
      for (int i = 0; i < kRowTiles; ++i) {
        p[i][0] = pack<T>(scores[i][2 * k][0], scores[i][2 * k][1]);
        p[i][1] = pack<T>(scores[i][2 * k][2], scores[i][2 * k][3]);
        p[i][2] = pack<T>(scores[i][2 * k + 1][0], scores[i][2 * k + 1][1]);
        p[i][3] = pack<T>(scores[i][2 * k + 1][2], scores[i][2 * k + 1][3]);
      }
#pragma unroll
      for (int d = 0; d < dim / 16; ++d) {
        std::uint32_t b[4];
        load_matrices_transposed(b, values + place(16 * k + lane % 16, 2 * d + lane / 16));
#pragma unroll
        for (int i = 0; i < kRowTiles; ++i) {
          mma<T>(out[i][2 * d], p[i], b[0], b[1]);
          mma<T>(out[i][2 * d + 1], p[i], b[2], b[3]);
        }
      }
    }
  }

#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float total = sum[i][h];
      total += __shfl_xor_sync(kAllLanes, total, 1);
      total += __shfl_xor_sync(kAllLanes, total, 2);
      const int pair = first_pair + (warp * kRowTiles + i) * 16 + 8 * h + lane / 4;
      if (pair >= count) continue;
      const float inverse = 1.0f / total;
      const std::int64_t at =
          static_cast<std::int64_t>(pair / group) * a.query_heads + head * group + pair % group;
      float* to = a.out + at * dim + 2 * (lane % 4);
#pragma unroll
      for (int d = 0; d < dim / 8; ++d) {
        *reinterpret_cast<float2*>(to + 8 * d) = {out[i][d][2 * h] * inverse,
                                                  out[i][d][2 * h + 1] * inverse};
      }
    }
  }
}

template <class T, int dim>
void launch(const AttentionArguments& a, cudaStream_t stream) {
  constexpr int kBytes = shared_bytes<dim>();
  const auto kernel = prefill_attention_kernel<T, dim>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "attention");
  const std::int64_t pairs = static_cast<std::int64_t>(a.tokens) * a.group();
  const dim3 grid(static_cast<unsigned>((pairs + kRows - 1) / kRows),
                  static_cast<unsigned>(a.key_heads));
  kernel<<<grid, kThreads, kBytes, stream>>>(a);
  check_launch("attention");
}

}  // namespace

void prefill_attention(Dtype cache, const AttentionArguments& a, cudaStream_t stream) {
  if (cache == Dtype::f16) {
    a.dim == 64 ? launch<__half, 64>(a, stream) : launch<__half, 128>(a, stream);
  } else {
    a.dim == 64 ? launch<__nv_bfloat16, 64>(a, stream) : launch<__nv_bfloat16, 128>(a, stream);
  }
}

}  // namespace l2a::cuda
