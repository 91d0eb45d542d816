// Attention of many rows on Hopper, bound by tensor-core arithmetic: 4 * D operations a visible key, row and head.
//
// A multiprocessor runs one block of three warpgroups. One of them brings: a thread has the copy engine fetch keys and
// values, 128 positions at a time, and three warps gather the next tile's queries, convert them and say which keys it
// sees. The other two multiply, 64 rows each: the scores of the next keys are on the tensor cores while the softmax of the last
// ones is computed, and one warpgroup's softmax runs beside the other's products (the habits of arXiv 2407.08608).
// attention_tiles.cuh says what a tile is.
//
// Blocks take pieces of work from a counter, those with the most keys first. A first kernel of one block reads what is
// routed, and where that leaves multiprocessors idle cuts the keys of tiles into several pieces; the last kernel then
// puts the parts together. No count leaves the device.
#include "backends/cuda/kernels/attention_parts.h"
#include "backends/cuda/kernels/attention_tiles.cuh"
#include "backends/cuda/kernels/mma.cuh"
#include "backends/cuda/kernels/wgmma.cuh"
#include "backends/cuda/tensor_map.h"

namespace l2a::cuda {
namespace {

constexpr int kConsumers = kTileRows / 64;
constexpr int kThreads = (1 + kConsumers) * kWarpgroup;
constexpr int kBoxColumns = 64;
constexpr int kMostPieces = 4;  // a multiprocessor, of tiles that are split
constexpr int kMostSplits = 16, kShortestPiece = 8;

struct Maps {
  CUtensorMap keys, values, fresh_keys, fresh_values;
};

// What is left over of a piece of a split tile: a running softmax's state.
struct Parts {
  float* sums;    // [pieces, rows, dim]
  float2* state;  // [pieces, rows]: largest score in units of log2, sum of weights
};

#if L2A_HOPPER_CODE

constexpr int kLoaders = kWarpgroup - 32;  // threads that gather queries
// Of 65536 registers: what bringing needs, and the rest.
constexpr int kBringRegisters = 56, kMultiplyRegisters = 224;
constexpr float kLog2e = 1.4426950408889634f;

// A piece of work as the loaders describe it to the others.
struct Piece {
  Tile tile;
  int head, first_key_tile, key_tiles;  // no key tiles: there is no more work
  int part;                             // of a split tile, or -1
};

template <int dim>
struct Shared {
  static constexpr int kStages = dim == 64 ? 4 : 2;
  static constexpr int kQueryBytes = kTileRows * dim * 2, kKeyBytes = kTileKeys * dim * 2;
  std::uint8_t queries[2][kQueryBytes];
  std::uint8_t keys[kStages][kKeyBytes], values[kStages][kKeyBytes];
  int positions[2][kTileRows];  // -1: no such row
  Piece pieces[2];
  int2 key_tiles[kStages];  // first position and count
  Barrier query_full[2], query_empty[2];
  Barrier keys_full[kStages], keys_empty[kStages], values_full[kStages], values_empty[kStages];
};

__device__ Piece next_piece(const AttentionArguments& a, int start, AttentionPlan* counter) {
  const AttentionPlan plan = *counter;
  const int long_pieces = plan.long_pieces(a.key_heads);
  Piece piece;
  for (;;) {
    piece.key_tiles = 0;
    const int index = atomicAdd(&counter->next, 1);
    if (index >= plan.pieces(a.key_heads)) return piece;
    // Head after head: the keys of one mostly stay in the second-level cache.
    const bool is_long = index < long_pieces;
    const int splits = is_long ? plan.splits : 1;
    const int tiles = is_long ? plan.long_tiles : plan.tiles - plan.long_tiles;
    const int in_run = (is_long ? index : index - long_pieces) / splits;
    piece.head = in_run / tiles;
    piece.tile = tile_at(a, start, in_run % tiles + (is_long ? 0 : plan.long_tiles));
    const int all = key_runs(a, start, piece.tile.begin, piece.tile.last).tiles();
    const int length = is_long ? plan.length : all;
    piece.first_key_tile = index % splits * length;
    piece.key_tiles = min(length, all - piece.first_key_tile);
    piece.part = all > length ? index : -1;
    if (piece.key_tiles > 0) return piece;
  }
}

template <class T, int dim>
__device__ void load_queries(const AttentionArguments& a, AttentionPlan* plan,
                             Shared<dim>& shared) {
  constexpr int kParts = dim / 8;
  const int thread = static_cast<int>(threadIdx.x) - 32, start = a.positions[0], group = a.group();
  for (Turn<2> turn;; turn.advance()) {
    if (thread == 0) {
      wait(&shared.query_empty[turn.stage], turn.phase ^ 1);
      shared.pieces[turn.stage] = next_piece(a, start, plan);
    }
    meet(1, kLoaders);
    const Piece& piece = shared.pieces[turn.stage];
    if (piece.key_tiles == 0) {
      arrive(&shared.query_full[turn.stage]);
      return;
    }
    const Tile& tile = piece.tile;
    for (int row = thread; row < kTileRows; row += kLoaders) {
      int position = -1;
      if (tile.first_pair + row < tile.pairs) {
        const int index = (tile.first_pair + row) / group;
        if (!tile.skips(a, index)) position = start + token_of(tile.list, index);
      }
      shared.positions[turn.stage][row] = position;
    }
    std::uint8_t* const queries = shared.queries[turn.stage];
#pragma unroll 2
    for (int i = thread; i < kTileRows * kParts; i += kLoaders) {
      const int row = i / kParts, part = i % kParts, pair = tile.first_pair + row;
      uint4 eight = {};
      if (pair < tile.pairs) {
        const auto* from = reinterpret_cast<const float4*>(
            a.query + tile.at(a, pair, piece.head) * dim + 8 * part);
        const float4 low = from[0], high = from[1];
        eight = {pack<T>(low.x, low.y), pack<T>(low.z, low.w), pack<T>(high.x, high.y),
                 pack<T>(high.z, high.w)};
      }
      *reinterpret_cast<uint4*>(queries + part / 8 * (kTileRows * 128) + row * 128 +
                                ((part ^ row) % 8 << 4)) = eight;
    }
    publish_stores();
    arrive(&shared.query_full[turn.stage]);
  }
}

template <int dim>
__device__ void bring_keys(const AttentionArguments& a, const Maps& maps, Shared<dim>& shared) {
  using Memory = Shared<dim>;
  const int start = a.positions[0];
  Turn<Memory::kStages> turn;
  auto bring = [&](std::uint8_t* to, Barrier* full, Barrier* empty, const CUtensorMap& map,
                   int head, int slot) {
    wait(empty, turn.phase ^ 1);
    arrive_expecting(full, Memory::kKeyBytes);
#pragma unroll
    for (int column = 0; column < dim; column += kBoxColumns)
      copy_box(to + column * 2 * kTileKeys, map, full, column, head, slot);
  };
  for (Turn<2> query;; query.advance()) {
    wait(&shared.query_full[query.stage], query.phase);
    const Piece& piece = shared.pieces[query.stage];
    if (piece.key_tiles == 0) return;
    const KeyRuns runs = key_runs(a, start, piece.tile.begin, piece.tile.last);
    const int head = piece.head, first = piece.first_key_tile, count = piece.key_tiles;
    for (int i = 0; i < count; ++i) {
      const KeyTile tile = key_tile(runs, first + i);
      const int stage = turn.stage;
      wait(&shared.keys_empty[stage], turn.phase ^ 1);
      shared.key_tiles[stage] = {tile.first, tile.count};
      bring(shared.keys[stage], &shared.keys_full[stage], &shared.keys_empty[stage],
            tile.fresh ? maps.fresh_keys : maps.keys, head, tile.slot);
      bring(shared.values[stage], &shared.values_full[stage], &shared.values_empty[stage],
            tile.fresh ? maps.fresh_values : maps.values, head, tile.slot);
      turn.advance();
    }
    arrive(&shared.query_empty[query.stage]);
  }
}

__device__ inline float exp2_fast(float v) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(v));
  return result;
}

// What a thread has of a tile: two rows, 8 apart.
struct TwoRows {
  int position[2], begin[2];
  float largest[2], sum[2];
};

// scores become weights, rows' maxima and sums are brought up to date; what earlier sums are to be multiplied by.
template <int count>
__device__ float2 soften(float (&scores)[count], TwoRows& rows, float to_log2) {
  float rescale[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float now = rows.largest[h];
#pragma unroll
    for (int j = 0; j < count / 4; ++j)
      now = fmaxf(now, fmaxf(scores[4 * j + 2 * h], scores[4 * j + 2 * h + 1]));
    now = fmaxf(now, __shfl_xor_sync(kAllLanes, now, 1));
    now = fmaxf(now, __shfl_xor_sync(kAllLanes, now, 2));
    // A row that has seen nothing yet keeps a finite shift, so that nothing becomes NaN.
    const float shift = now == -INFINITY ? 0.0f : now * to_log2;
    rescale[h] = exp2_fast(rows.largest[h] * to_log2 - shift);
    rows.largest[h] = now;
    float sum = 0;
#pragma unroll
    for (int j = 0; j < count / 4; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        float& score = scores[4 * j + 2 * h + e];
        score = exp2_fast(score * to_log2 - shift);
        sum += score;
      }
    }
    rows.sum[h] = rows.sum[h] * rescale[h] + sum;
  }
  return {rescale[0], rescale[1]};
}

template <int count>
__device__ void mask(float (&scores)[count], const TwoRows& rows, int2 key_tile, int sinks,
                     int lane) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int high = min(rows.position[h] - key_tile.x, key_tile.y - 1);
    const int low = rows.begin[h] - key_tile.x, sinks_end = sinks - key_tile.x;
#pragma unroll
    for (int j = 0; j < count / 4; ++j) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int key = 8 * j + 2 * (lane % 4) + e;
        if (key > high || (key < low && key >= sinks_end)) scores[4 * j + 2 * h + e] = -INFINITY;
      }
    }
  }
}

template <class T, int dim>
__device__ void multiply_tiles(const AttentionArguments& a, const Parts& parts,
                               Shared<dim>& shared) {
  using Memory = Shared<dim>;
  constexpr int kNextColumns = kTileKeys * 128;  // bytes between halves of keys' and values' rows
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup - 1;
  const int in_group = static_cast<int>(threadIdx.x) % kWarpgroup, lane = in_group % 32;
  const int first_row = 64 * warpgroup + in_group / 32 * 16 + lane / 4;
  const float to_log2 = a.scale * kLog2e;
  const auto release = [&](Barrier* barrier) {
    __syncwarp();
    if (lane == 0) arrive(barrier);
  };
  // The warpgroups issue their products in turns.
  const auto my_turn = [&] { meet(2 + warpgroup, kConsumers * kWarpgroup); };
  const auto your_turn = [&] { pass(3 - warpgroup, kConsumers * kWarpgroup); };
  if (warpgroup == 1) your_turn();

  Turn<Memory::kStages> key_turn, value_turn;
  for (Turn<2> query;; query.advance()) {
    wait(&shared.query_full[query.stage], query.phase);
    const Piece& piece = shared.pieces[query.stage];
    const int key_tiles = piece.key_tiles;
    if (key_tiles == 0) return;
    const Tile tile = piece.tile;
    const int head = piece.head, part = piece.part;
    TwoRows rows;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      rows.position[h] = shared.positions[query.stage][first_row + 8 * h];
      rows.begin[h] = tile.begin_of(rows.position[h]);
      rows.largest[h] = -INFINITY;
      rows.sum[h] = 0;
    }
    const std::uint8_t* const queries = shared.queries[query.stage] + warpgroup * 64 * 128;

    float scores[kTileKeys / 2], sums[dim / 2];
    std::uint32_t weights[kTileKeys / 4];
    auto start_scores = [&] {
      begin_multiplies();
#pragma unroll
      for (int k = 0; k < dim; k += 16) {
        const int half = k / kBoxColumns, offset = k % kBoxColumns / 8;
        multiply<T>(scores, operand(queries + half * (kTileRows * 128)) + offset,
                    operand(shared.keys[key_turn.stage] + half * kNextColumns) + offset, k > 0);
      }
      commit_multiplies();
    };
    auto start_sums = [&](bool add) {
      begin_multiplies();
      const std::uint64_t values = operand(shared.values[value_turn.stage], kNextColumns);
#pragma unroll
      for (int k = 0; k < kTileKeys / 16; ++k) {
        const std::uint32_t four[4] = {weights[4 * k], weights[4 * k + 1], weights[4 * k + 2],
                                       weights[4 * k + 3]};
        multiply_transposed<T>(sums, four, values + 128 * k, add || k > 0);
      }
      commit_multiplies();
    };
    // A weight of zero must not meet a NaN: values past the last one that a row sees become zero.
    auto clear_values = [&](int count) {
      if (count < kTileKeys) {
        if (in_group >= count) {
          std::uint8_t* row = shared.values[value_turn.stage] + in_group * 128;
#pragma unroll
          for (int half = 0; half < dim / kBoxColumns; ++half) {
#pragma unroll
            for (int i = 0; i < 8; ++i)
              *reinterpret_cast<uint4*>(row + half * kNextColumns + 16 * i) = {};
          }
        }
        publish_stores();
        meet(4 + warpgroup, kWarpgroup);
      }
    };
    auto pack_weights = [&] {
#pragma unroll
      for (int i = 0; i < kTileKeys / 4; ++i)
        weights[i] = pack<T>(scores[2 * i], scores[2 * i + 1]);
    };
    const auto partly_hidden = [&](int2 key_tile) {
      return key_tile.x + kTileKeys > tile.mask_from || key_tile.x < tile.mask_to ||
             key_tile.y < kTileKeys;
    };

    wait(&shared.keys_full[key_turn.stage], key_turn.phase);
    int2 key_tile = shared.key_tiles[key_turn.stage];
    start_scores();
    wait_multiplies<0>();
    settle(scores);
    release(&shared.keys_empty[key_turn.stage]);
    key_turn.advance();
    if (partly_hidden(key_tile)) mask(scores, rows, key_tile, a.sinks, lane);
    soften(scores, rows, to_log2);
    pack_weights();

#pragma unroll 1
    for (int i = 1; i < key_tiles; ++i) {
      wait(&shared.keys_full[key_turn.stage], key_turn.phase);
      const int earlier_count = key_tile.y;
      key_tile = shared.key_tiles[key_turn.stage];
      my_turn();
      start_scores();
      wait(&shared.values_full[value_turn.stage], value_turn.phase);
      clear_values(earlier_count);
      start_sums(i > 1);
      your_turn();
      wait_multiplies<1>();
      settle(scores);
      release(&shared.keys_empty[key_turn.stage]);
      key_turn.advance();
      if (partly_hidden(key_tile)) mask(scores, rows, key_tile, a.sinks, lane);
      const float2 rescale = soften(scores, rows, to_log2);
      wait_multiplies<0>();
      settle(sums);
      release(&shared.values_empty[value_turn.stage]);
      value_turn.advance();
      // Maxima settle after a few tiles of keys.
      if (__any_sync(kAllLanes, rescale.x != 1.0f || rescale.y != 1.0f)) {
#pragma unroll
        for (int j = 0; j < dim / 8; ++j) {
          sums[4 * j] *= rescale.x, sums[4 * j + 1] *= rescale.x;
          sums[4 * j + 2] *= rescale.y, sums[4 * j + 3] *= rescale.y;
        }
      }
      pack_weights();
    }
    release(&shared.query_empty[query.stage]);
    wait(&shared.values_full[value_turn.stage], value_turn.phase);
    clear_values(key_tile.y);
    start_sums(key_tiles > 1);
    wait_multiplies<0>();
    settle(sums);
    release(&shared.values_empty[value_turn.stage]);
    value_turn.advance();

#pragma unroll
    for (int h = 0; h < 2; ++h) {
      float total = rows.sum[h];
      total += __shfl_xor_sync(kAllLanes, total, 1);
      total += __shfl_xor_sync(kAllLanes, total, 2);
      const int row = first_row + 8 * h, pair = tile.first_pair + row;
      if (rows.position[h] < 0) continue;
      float* to;
      float scale = 1;
      if (part < 0) {
        to = a.out + tile.at(a, pair, head) * dim;
        scale = 1.0f / total;
      } else {
        const std::int64_t at = static_cast<std::int64_t>(part) * kTileRows + row;
        to = parts.sums + at * dim;
        if (lane % 4 == 0) parts.state[at] = {rows.largest[h] * to_log2, total};
      }
#pragma unroll
      for (int j = 0; j < dim / 8; ++j) {
        *reinterpret_cast<float2*>(to + 8 * j + 2 * (lane % 4)) = {sums[4 * j + 2 * h] * scale,
                                                                   sums[4 * j + 2 * h + 1] * scale};
      }
    }
  }
}

#endif

template <class T, int dim>
__global__ void __launch_bounds__(kThreads, 1)
    hopper_attention_kernel(AttentionArguments a, const __grid_constant__ Maps maps,
                            AttentionPlan* plan, Parts parts) {
#if L2A_HOPPER_CODE
  extern __shared__ std::uint8_t memory[];
  // The swizzle goes by addresses.
  auto& shared =
      *reinterpret_cast<Shared<dim>*>(memory + (1024 - shared_address(memory) % 1024) % 1024);
  if (threadIdx.x == 0) {
    for (int i = 0; i < 2; ++i) {
      init_barrier(&shared.query_full[i], kLoaders);
      init_barrier(&shared.query_empty[i], kConsumers * 4 + 1);
    }
    for (int i = 0; i < Shared<dim>::kStages; ++i) {
      init_barrier(&shared.keys_full[i], 1);
      init_barrier(&shared.values_full[i], 1);
      init_barrier(&shared.keys_empty[i], kConsumers * 4);
      init_barrier(&shared.values_empty[i], kConsumers * 4);
    }
    publish_barriers();
  }
  __syncthreads();
  if (threadIdx.x < kWarpgroup) {
    give_registers<kBringRegisters>();
    if (threadIdx.x >= 32) {
      load_queries<T, dim>(a, plan, shared);
    } else if (threadIdx.x == 0) {
      bring_keys<dim>(a, maps, shared);
    }
  } else {
    take_registers<kMultiplyRegisters>();
    multiply_tiles<T, dim>(a, parts, shared);
  }
#endif
}

// One block: how the call is cut. Uncut, pieces of equal length leave multiprocessors idle in the last round; cut into
// more, every piece costs its start and end, some three key tiles.
constexpr int kPlanThreads = 256;
__global__ void __launch_bounds__(kPlanThreads)
    plan_attention(AttentionArguments a, AttentionPlan* plan, int multiprocessors) {
  __shared__ int longest, cut[kMostSplits];
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) longest = 0;
  if (thread < kMostSplits) cut[thread] = 0;
  __syncthreads();
  const int start = a.positions[0], tiles = tile_count(a), many = long_tiles(a);
  const auto length_of = [&](int index) {
    const Tile tile = tile_at(a, start, index);
    return key_runs(a, start, tile.begin, tile.last).tiles();
  };
  int all = 0;
  for (int i = thread; i < tiles; i += kPlanThreads) {
    const int length = length_of(i);
    all += length;
    if (i < many) atomicMax(&longest, length);
  }
  const float sum = block_sum(static_cast<float>(all));
  for (int i = thread; i < many; i += kPlanThreads) {
    const int length = length_of(i);
    for (int splits = 1; splits <= kMostSplits; ++splits) {
      const int each = (longest + splits - 1) / splits;
      atomicAdd(&cut[splits - 1], (length + each - 1) / each);
    }
  }
  __syncthreads();
  if (thread != 0) return;
  const auto heads = static_cast<float>(a.key_heads), blocks = static_cast<float>(multiprocessors);
  AttentionPlan best{0, many, tiles, max(longest, 1), 1};
  float best_time = INFINITY;
  for (int splits = 1; splits <= kMostSplits; ++splits) {
    const int each = (longest + splits - 1) / splits;
    if (splits > 1 &&
        (each < kShortestPiece || many * a.key_heads * splits > kMostPieces * multiprocessors))
      break;
    const auto length = static_cast<float>(each);
    const float rounds = ceilf(static_cast<float>(cut[splits - 1]) * heads / blocks);
    // Pieces of equal length go in rounds; short ones fill what long ones leave.
    const float filled = sum * heads / blocks + length;
    const float time = (many < tiles ? filled : fminf(rounds * length, filled)) +
                       rounds * (splits == 1 ? 1.0f : 3.0f);
    if (time < best_time) {
      best_time = time;
      best.length = max(each, 1);
      best.splits = splits;
    }
  }
  *plan = best;
}

// The parts of split tiles put together: a warp a row, blocks stride over (head, tile).
constexpr int kJoinThreads = 256;
template <int dim>
__global__ void __launch_bounds__(kJoinThreads)
    join_parts(AttentionArguments a, const AttentionPlan* plan, Parts parts) {
  const int splits = plan->splits, length = plan->length, tiles = plan->long_tiles;
  if (splits == 1) return;
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int start = a.positions[0], group = a.group(), items = tiles * a.key_heads;
  for (int item = static_cast<int>(blockIdx.x); item < items; item += static_cast<int>(gridDim.x)) {
    const Tile tile = tile_at(a, start, item % tiles);
    const int all = key_runs(a, start, tile.begin, tile.last).tiles();
    if (all <= length) continue;
    const int count = (all + length - 1) / length;
    for (int row = warp; row < kTileRows; row += kJoinThreads / 32) {
      const int pair = tile.first_pair + row;
      if (pair >= tile.pairs) break;
      if (tile.skips(a, pair / group)) continue;
      const std::int64_t first = static_cast<std::int64_t>(item) * splits * kTileRows + row;
      float largest = -INFINITY;
      for (int i = 0; i < count; ++i)
        largest = fmaxf(largest, parts.state[first + i * kTileRows].x);
      float total = 0, out[dim / 32] = {};
      for (int i = 0; i < count; ++i) {
        const float2 state = parts.state[first + i * kTileRows];
        const float weight = exp2f(state.x - largest);
        total += weight * state.y;
        const float* from = parts.sums + (first + i * kTileRows) * dim;
#pragma unroll
        for (int d = 0; d < dim / 32; ++d) out[d] += weight * from[32 * d + lane];
      }
      float* const to = a.out + tile.at(a, pair, item / tiles) * dim;
#pragma unroll
      for (int d = 0; d < dim / 32; ++d) to[32 * d + lane] = out[d] / total;
    }
  }
}

constexpr std::size_t kPlanBytes = 256;

std::size_t most_pieces(const AttentionArguments& a, const DeviceTraits& device) {
  // Of full and of wide tiles.
  const std::int64_t pairs = static_cast<std::int64_t>(a.tokens) * a.group();
  const std::int64_t tiles = (pairs + kTileRows - 1) / kTileRows * (a.wide != nullptr ? 2 : 1);
  return static_cast<std::size_t>(std::min<std::int64_t>(
      tiles * a.key_heads * kMostSplits, std::int64_t{kMostPieces} * device.multiprocessors));
}

template <class T, int dim>
void launch(Dtype cache, const AttentionArguments& a, std::byte* workspace,
            const DeviceTraits& device, cudaStream_t stream) {
  const auto map = [&](const void* data, int slots) {
    const auto d = static_cast<std::uint64_t>(dim), heads = static_cast<std::uint64_t>(a.key_heads);
    const std::uint64_t extents[] = {d, heads, static_cast<std::uint64_t>(slots)};
    const std::uint64_t strides[] = {2 * d, 2 * d * heads};
    const std::uint32_t box[] = {kBoxColumns, 1, kTileKeys};
    return tensor_map(cache, data, extents, strides, box);
  };
  Maps maps{map(a.keys, a.capacity), map(a.values, a.capacity), {}, {}};
  if (a.fresh_keys != nullptr) {
    maps.fresh_keys = map(a.fresh_keys, a.tokens);
    maps.fresh_values = map(a.fresh_values, a.tokens);
  }
  auto* plan = reinterpret_cast<AttentionPlan*>(workspace);
  auto* sums = reinterpret_cast<float*>(workspace + kPlanBytes);
  const std::size_t pieces = most_pieces(a, device);
  const Parts parts{sums, reinterpret_cast<float2*>(sums + pieces * kTileRows * dim)};

  plan_attention<<<1, kPlanThreads, 0, stream>>>(a, plan, device.multiprocessors);
  check_launch("attention");
  // Shared<dim>, which only device code knows, and what aligns it.
  constexpr int kStages = dim == 64 ? 4 : 2;
  constexpr int kBytes = 2 * kTileRows * dim * 2 + 2 * kStages * kTileKeys * dim * 2 + 4096;
  const auto kernel = hopper_attention_kernel<T, dim>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "attention");
  kernel<<<static_cast<unsigned>(device.multiprocessors), kThreads, kBytes, stream>>>(a, maps, plan,
                                                                                      parts);
  check_launch("attention");
  join_parts<dim>
      <<<static_cast<unsigned>(device.multiprocessors), kJoinThreads, 0, stream>>>(a, plan, parts);
  check_launch("attention");
}

}  // namespace

bool hopper_attention_runs(const AttentionArguments& a, const DeviceTraits& device) {
  return device.hopper() && aligned16(a.keys) && aligned16(a.values) && aligned16(a.fresh_keys) &&
         aligned16(a.fresh_values) && aligned16(a.query);
}

std::size_t hopper_attention_bytes(const AttentionArguments& a, const DeviceTraits& device) {
  return kPlanBytes +
         most_pieces(a, device) * kTileRows * (static_cast<std::size_t>(a.dim) + 2) * sizeof(float);
}

void hopper_attention(Dtype cache, const AttentionArguments& a, std::byte* workspace,
                      const DeviceTraits& device, cudaStream_t stream) {
  if (cache == Dtype::f16) {
    a.dim == 64 ? launch<__half, 64>(cache, a, workspace, device, stream)
                : launch<__half, 128>(cache, a, workspace, device, stream);
  } else {
    a.dim == 64 ? launch<__nv_bfloat16, 64>(cache, a, workspace, device, stream)
                : launch<__nv_bfloat16, 128>(cache, a, workspace, device, stream);
  }
}

}  // namespace l2a::cuda
