// Attention of one to eight tokens: bound by reading each cached key and value once for all query heads of its group.
//
// Rows are (token, query head) pairs of one key head, up to 16 a tile, so that a tensor-core product takes all of them.
// Keys go in units of 16, dealt out over the warps of all blocks of a head; a warp streams its own units through shared
// memory, three deep, and keeps its own running softmax. Warps meet in shared memory, blocks in the workspace, where the
// last one to arrive puts the parts together. How many blocks share the work follows the keys there are, on the device.
//
// Of a single token the heads may come as its projections left them (fused_parts.h): each block then finishes the
// queries of its group, and the one that has the newest keys finishes and appends the token's own key and value first.
#include <cmath>

#include "backends/cuda/kernels/attention_keys.cuh"
#include "backends/cuda/kernels/attention_parts.h"
#include "backends/cuda/kernels/chain.cuh"
#include "backends/cuda/kernels/finish_heads.cuh"
#include "backends/cuda/kernels/mma.cuh"

namespace l2a::cuda {
namespace {

constexpr int kWarps = 4, kThreads = 32 * kWarps;
constexpr int kUnit = 16, kStages = 3, kRows = 16;
constexpr int kMostSplits = 128;
constexpr int kLeastUnits = 2;  // a warp has at least so many before another block joins
constexpr float kLog2e = 1.4426950408889634f;

// Floats of a tile's part in the workspace: largest and sum of each row, then the unscaled output.
__host__ __device__ constexpr int part_floats(int dim) { return kRows * (dim + 2); }

// Key or value of a single token to its cache, by half a warp.
template <class T>
__device__ void append_head(const FinishHeads& call, bool key, int head) {
  T* const to =
      reinterpret_cast<T*>(key ? call.keys : call.values) + cache_head(call, 0, head) * call.dim;
  finish_head<16>(call, key ? call.key : call.value, 0, call.key_heads, head, key,
                  [&](int place, float value) { to[place] = from_float<T>(value); });
}

template <class T, int dim>
__global__ void __launch_bounds__(kThreads, 2)
    decode_attention_kernel(const __grid_constant__ AttentionArguments a,
                            const __grid_constant__ FinishHeads finish, float* parts,
                            std::uint32_t* counters) {
  constexpr int kRowBytes = 2 * dim, kParts = dim / 8, kSteps = dim / 16;
  constexpr int kUnitBytes = kUnit * kRowBytes, kWarpBytes = kStages * 2 * kUnitBytes;
  static_assert(kWarps * kWarpBytes >= kRows * kMostSplits * 4, "so do the weights of all parts");
  static_assert(kWarpBytes >= kRows * dim * 4, "a warp's output fits where its keys were");
  extern __shared__ __align__(128) std::uint8_t shared[];
  __shared__ __align__(128) std::uint8_t queries[kRows * kRowBytes];
  __shared__ float largest_of[kWarps][kRows], sum_of[kWarps][kRows];
  __shared__ bool last_to_arrive;
  const int thread = static_cast<int>(threadIdx.x), lane = thread % 32, warp = thread / 32;
  let_later_start();
  // Old keys need not wait for the new one, if it is known who sees them.
  const bool finishes = finish.tokens > 0;
  const bool early = finishes && a.rows == nullptr && a.wide == nullptr;
  if (!early) wait_for_earlier();
  const int head = static_cast<int>(blockIdx.y), tile = static_cast<int>(blockIdx.z);
  const int group = a.group(), start = a.positions[0];
  const int count = active_rows(a.rows, a.tokens) * group;  // pairs
  if (tile * kRows >= count) {
    // Nobody asks, but the key and the value are there for later tokens.
    if (finishes && blockIdx.x == 0 && warp == 0) append_head<T>(finish, lane < 16, head);
    return;
  }
  // Row of a pair in the query and the output.
  auto pair_row = [&](int pair) {
    return static_cast<std::int64_t>(pair / group) * a.query_heads + head * group + pair % group;
  };

  // This lane's rows of the products, and what all rows of the tile see together.
  RowView views[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int pair = tile * kRows + lane / 4 + 8 * h;
    views[h] = pair < count ? row_view(a, start, pair / group) : RowView{-1, 0};
  }
  int begin = min(views[0].position < 0 ? INT32_MAX : views[0].begin,
                  views[1].position < 0 ? INT32_MAX : views[1].begin);
  int last = max(views[0].position, views[1].position);
#pragma unroll
  for (int offset = 4; offset < 32; offset *= 2) {
    begin = min(begin, __shfl_xor_sync(kAllLanes, begin, offset));
    last = max(last, __shfl_xor_sync(kAllLanes, last, offset));
  }
  const KeyBlocks units = key_blocks(a, kUnit, begin, last);
  const int splits = min(static_cast<int>(gridDim.x),
                         max(1, (units.count + kWarps * kLeastUnits - 1) / (kWarps * kLeastUnits)));
  if (static_cast<int>(blockIdx.x) >= splits) {
    if (early) wait_for_earlier();
    return;
  }

  std::uint8_t* const ring = shared + warp * kWarpBytes;
  auto place = [](int key, int part) { return key * kRowBytes + ((part ^ (key & 7)) << 4); };
  const int stride = splits * kWarps, mine = static_cast<int>(blockIdx.x) * kWarps + warp;
  const int steps = mine < units.count ? (units.count - mine + stride - 1) / stride : 0;
  auto fetch = [&](int step) {
    if (step < steps) {
      std::uint8_t* const keys = ring + step % kStages * 2 * kUnitBytes;
      std::uint8_t* const values = keys + kUnitBytes;
      const int first = units.key(mine + step * stride);
      const int part = lane % kParts;
#pragma unroll
      for (int i = 0; i < kUnit * kParts / 32; ++i) {
        const int in_unit = lane / kParts + i * (32 / kParts), key = first + in_unit;
        // What no row sees is zero: a weight of zero must not meet a NaN.
        const bool there = units.wanted(key);
        const int position = there ? key : last;
        const auto from = key_value<T>(a, start, position, head);
        copy16_or_zero(keys + place(in_unit, part), from.key + 8 * part, there);
        copy16_or_zero(values + place(in_unit, part), from.value + 8 * part, there);
      }
    }
    commit_copies();
  };
  // The token's own key is in the last unit, which is fetched once it is appended.
  const int newest = (units.count - 1 - mine) / stride;
  int fetched = 0;
  if (finishes) {
    const bool has_newest = mine < units.count && mine + newest * stride == units.count - 1;
    while (fetched < kStages - 1 && !(has_newest && fetched >= newest)) fetch(fetched++);
    if (early) wait_for_earlier();
    const bool owner = (units.count - 1) / kWarps % splits == static_cast<int>(blockIdx.x);
    // Half a warp a head; the first warp of the owner has the key and the value.
    if (owner && warp == 0) append_head<T>(finish, lane < 16, head);
    const int halves = 2 * (kWarps - (owner ? 1 : 0));
    const int half = thread / 16 - (owner ? 2 : 0);
    for (int begin = 0; begin < group && half >= 0; begin += halves) {
      // All lanes of a warp go round together; a half without a head does the last one once more.
      const int i = min(begin + half, group - 1);
      T* const row = reinterpret_cast<T*>(queries + i * kRowBytes);
      finish_head<16>(
          finish, finish.query, 0, a.query_heads, head * group + i, true,
          [&](int d, float value) { row[((d / 8) ^ (i & 7)) * 8 + d % 8] = from_float<T>(value); });
    }
    for (int i = group * kRowBytes / 16 + thread; i < kRows * kRowBytes / 16; i += kThreads)
      reinterpret_cast<uint4*>(queries)[i] = {};
    if (owner) __syncthreads();  // before others of the block fetch what was appended
  }
  while (fetched < kStages - 1) fetch(fetched++);

  // Queries, rounded to the type of the cache, by way of shared memory.
  auto query_place = [](int row, int part) { return row * kRowBytes + ((part ^ (row & 7)) << 4); };
  for (int i = thread; i < kRows * kParts && !finishes; i += kThreads) {
    const int row = i / kParts, part = i % kParts, pair = tile * kRows + row;
    uint4 eight = {};
    if (pair < count) {
      const auto* from = reinterpret_cast<const float4*>(a.query + pair_row(pair) * dim + 8 * part);
      const float4 low = from[0], high = from[1];
      eight = {pack<T>(low.x, low.y), pack<T>(low.z, low.w), pack<T>(high.x, high.y),
               pack<T>(high.z, high.w)};
    }
    *reinterpret_cast<uint4*>(queries + query_place(row, part)) = eight;
  }
  __syncthreads();
  std::uint32_t q[kSteps][4];
#pragma unroll
  for (int k = 0; k < kSteps; ++k)
    load_matrices(q[k], shared_address(queries) + query_place(lane % 16, 2 * k + lane / 16));

  const float to_log2 = a.scale * kLog2e;
  float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {};
  float out[dim / 8][4] = {};
  for (int step = 0; step < steps; ++step) {
    wait_copies<kStages - 2>();
    __syncwarp();
    fetch(step + kStages - 1);
    const std::uint32_t keys = shared_address(ring + step % kStages * 2 * kUnitBytes);
    const std::uint32_t values = keys + kUnitBytes;
    float scores[2][4] = {};
#pragma unroll
    for (int k = 0; k < kSteps; ++k) {
      std::uint32_t b[4];
      load_matrices(b, keys + place(lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2));
      mma<T>(scores[0], q[k], b[0], b[1]);
      mma<T>(scores[1], q[k], b[2], b[3]);
    }
    const int first = units.key(mine + step * stride);
    float now[2] = {largest[0], largest[1]};
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int key = first + 8 * j + 2 * (lane % 4) + i % 2;
        scores[j][i] = views[i / 2].sees(key, a.sinks) ? scores[j][i] * to_log2 : -INFINITY;
        now[i / 2] = fmaxf(now[i / 2], scores[j][i]);
      }
    }
    float rescale[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      now[h] = fmaxf(now[h], __shfl_xor_sync(kAllLanes, now[h], 1));
      now[h] = fmaxf(now[h], __shfl_xor_sync(kAllLanes, now[h], 2));
      // A row that has seen nothing yet keeps a finite shift, so that nothing becomes NaN.
      const float shift = now[h] == -INFINITY ? 0.0f : now[h];
      rescale[h] = exp2f(largest[h] - shift);
      largest[h] = now[h];
      now[h] = shift;
      sum[h] *= rescale[h];
    }
    std::uint32_t p[4];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        scores[j][i] = exp2f(scores[j][i] - now[i / 2]);
        sum[i / 2] += scores[j][i];
      }
      p[2 * j] = pack<T>(scores[j][0], scores[j][1]);
      p[2 * j + 1] = pack<T>(scores[j][2], scores[j][3]);
    }
#pragma unroll
    for (int d = 0; d < dim / 8; ++d) {
#pragma unroll
      for (int i = 0; i < 4; ++i) out[d][i] *= rescale[i / 2];
    }
#pragma unroll
    for (int d = 0; d < dim / 16; ++d) {
      std::uint32_t b[4];
      load_matrices_transposed(b, values + place(lane % 16, 2 * d + lane / 16));
      mma<T>(out[2 * d], p, b[0], b[1]);
      mma<T>(out[2 * d + 1], p, b[2], b[3]);
    }
  }
  wait_copies<0>();

  // Each warp leaves its rows where its keys were.
  float* const mixed = reinterpret_cast<float*>(ring);
  __syncwarp();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    sum[h] += __shfl_xor_sync(kAllLanes, sum[h], 1);
    sum[h] += __shfl_xor_sync(kAllLanes, sum[h], 2);
    const int row = lane / 4 + 8 * h;
    if (lane % 4 == 0) {
      largest_of[warp][row] = largest[h];
      sum_of[warp][row] = sum[h];
    }
#pragma unroll
    for (int d = 0; d < dim / 8; ++d) {
      *reinterpret_cast<float2*>(mixed + row * dim + 8 * d + 2 * (lane % 4)) = {out[d][2 * h],
                                                                                out[d][2 * h + 1]};
    }
  }
  __syncthreads();

  const int pairs = min(count - tile * kRows, kRows);
  const int slot = head * static_cast<int>(gridDim.z) + tile;
  float* const tile_parts = parts + static_cast<std::int64_t>(slot) * gridDim.x * part_floats(dim);
  float* const own = tile_parts + static_cast<std::int64_t>(blockIdx.x) * part_floats(dim);
  auto out_row = [&](int row) { return a.out + pair_row(tile * kRows + row) * dim; };
  for (int i = thread; i < pairs * dim; i += kThreads) {
    const int row = i / dim, d = i % dim;
    float all = -INFINITY, total = 0, value = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) all = fmaxf(all, largest_of[w][row]);
    const float shift = all == -INFINITY ? 0.0f : all;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) {
      const float weight = exp2f(largest_of[w][row] - shift);
      total += weight * sum_of[w][row];
      value += weight * reinterpret_cast<const float*>(shared + w * kWarpBytes)[i];
    }
    if (splits == 1) {
      out_row(row)[d] = value / total;
      continue;
    }
    own[2 * kRows + i] = value;
    if (d == 0) {
      own[row] = all;
      own[kRows + row] = total;
    }
  }
  if (splits == 1) return;

  __threadfence();
  __syncthreads();
  if (thread == 0)
    last_to_arrive = atomicAdd(counters + slot, 1u) == static_cast<unsigned>(splits - 1);
  __syncthreads();
  if (!last_to_arrive) return;
  __threadfence();
  // What each part counts for, a warp a row, then the sum of the parts: no load waits for another.
  float* const weights = reinterpret_cast<float*>(shared);  // [pairs, splits]
  for (int row = warp; row < pairs; row += kWarps) {
    float all = -INFINITY, total = 0;
    for (int s = lane; s < splits; s += 32)
      all = fmaxf(all, __ldcg(tile_parts + s * part_floats(dim) + row));
    all = warp_max(all);
    for (int s = lane; s < splits; s += 32) {
      const float* part = tile_parts + s * part_floats(dim);
      const float weight = exp2f(__ldcg(part + row) - all);
      weights[row * splits + s] = weight;
      total += weight * __ldcg(part + kRows + row);
    }
    total = warp_sum(total);
    for (int s = lane; s < splits; s += 32) weights[row * splits + s] /= total;
  }
  __syncthreads();
  for (int i = 4 * thread; i < pairs * dim; i += 4 * kThreads) {
    const int row = i / dim, d = i % dim;
    float value[4] = {};
#pragma unroll 16
    for (int s = 0; s < splits; ++s) {
      const auto* part = tile_parts + s * part_floats(dim) + 2 * kRows + i;
      const float4 four = __ldcg(reinterpret_cast<const float4*>(part));
      const float weight = weights[row * splits + s];
      value[0] += weight * four.x, value[1] += weight * four.y;
      value[2] += weight * four.z, value[3] += weight * four.w;
    }
    *reinterpret_cast<float4*>(out_row(row) + d) = {value[0], value[1], value[2], value[3]};
  }
  if (thread == 0) counters[slot] = 0;
}

template <class T, int dim>
void launch(const AttentionArguments& a, const FinishHeads& finish, const DecodeSplit& split,
            std::byte* workspace, std::uint32_t* counters, const DeviceTraits& device,
            cudaStream_t stream) {
  constexpr int kBytes = kWarps * kStages * 2 * kUnit * 2 * dim;
  const auto kernel = decode_attention_kernel<T, dim>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "attention");
  const dim3 grid(static_cast<unsigned>(split.splits), static_cast<unsigned>(a.key_heads),
                  static_cast<unsigned>(split.row_tiles));
  launch_chained({grid, kThreads, kBytes, stream, device.chains()}, kernel, a, finish,
                 reinterpret_cast<float*>(workspace), counters);
}

}  // namespace

DecodeSplit decode_split(int tokens, int query_heads, int key_heads, int dim, int capacity,
                         int multiprocessors) {
  DecodeSplit split;
  split.row_tiles = (tokens * (query_heads / key_heads) + kRows - 1) / kRows;
  const int tiles = key_heads * split.row_tiles;
  const int wanted = (2 * multiprocessors + tiles - 1) / tiles;
  const int useful = capacity / (kUnit * kWarps * kLeastUnits) + 1;
  split.splits = std::max(1, std::min({wanted, useful, kMostSplits}));
  if (static_cast<std::size_t>(tiles) > kCounters) split.splits = 1;
  split.bytes = static_cast<std::size_t>(tiles) * static_cast<std::size_t>(split.splits) *
                static_cast<std::size_t>(part_floats(dim)) * sizeof(float);
  return split;
}

bool decode_finishes_heads(Dtype cache, const FinishHeads& finish) {
  return finish.tokens == 1 && tensor_core_attention(cache, finish.dim) &&
         finish.query_heads / finish.key_heads <= kRows;
}

void decode_attention(Dtype cache, const AttentionArguments& a, const FinishHeads& finish,
                      const DecodeSplit& split, std::byte* workspace, std::uint32_t* counters,
                      const DeviceTraits& device, cudaStream_t stream) {
  if (cache == Dtype::f16) {
    a.dim == 64 ? launch<__half, 64>(a, finish, split, workspace, counters, device, stream)
                : launch<__half, 128>(a, finish, split, workspace, counters, device, stream);
  } else {
    a.dim == 64 ? launch<__nv_bfloat16, 64>(a, finish, split, workspace, counters, device, stream)
                : launch<__nv_bfloat16, 128>(a, finish, split, workspace, counters, device, stream);
  }
}

}  // namespace l2a::cuda
