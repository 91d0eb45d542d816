// Attention of many rows cut into pieces of work: tiles of rows, and of each tile's keys up to so many at a time.
//
// A row is a (token, query head) pair of one key head; a tile is 128 of them whose tokens ascend. Rows that see
// everything in a call where others have a window (`wide`) are tiles of their own, which come first.
#pragma once

#include "backends/cuda/kernels/attention_keys.cuh"

namespace l2a::cuda {

constexpr int kTileRows = 128, kTileKeys = 128;

__device__ inline int tiles_of(int pairs) { return (pairs + kTileRows - 1) / kTileRows; }
__device__ inline int wide_tiles(const AttentionArguments& a) {
  return a.wide != nullptr ? tiles_of(a.wide[0] * a.group()) : 0;
}
__device__ inline int tile_count(const AttentionArguments& a) {
  return wide_tiles(a) + tiles_of(active_rows(a.rows, a.tokens) * a.group());
}

// Tiles are counted from the one with the most keys.
struct Tile {
  const std::int32_t* list;  // of its tokens; null: all
  int first_pair, pairs;     // of the list, and as many as that has
  int window;                // 0: none
  bool skips_wide;           // wide rows belong to other tiles
  int begin, last;           // keys outside [begin, last] and the sinks are no one's,
  int mask_to, mask_from;    // those in [mask_to, mask_from) are every row's

  __device__ int begin_of(int position) const {
    return window > 0 && position + 1 > window ? position + 1 - window : 0;
  }
  // Whether the list's token of that index belongs to another tile.
  __device__ bool skips(const AttentionArguments& a, int index) const {
    return skips_wide && lists(a.wide, index);
  }
  // Where a pair's query and result lie, in heads. Compact ones lie as the Rows lists them, wide ones at their tokens.
  __device__ std::int64_t at(const AttentionArguments& a, int pair, int head) const {
    const int group = a.group(), index = pair / group;
    const int row = list == a.rows ? index : token_of(list, index);
    return static_cast<std::int64_t>(row) * a.query_heads + head * group + pair % group;
  }
};
__device__ inline Tile tile_at(const AttentionArguments& a, int start, int index) {
  const int wide = wide_tiles(a), group = a.group();
  Tile tile;
  const bool is_wide = index < wide;
  tile.list = is_wide ? a.wide : a.rows;
  tile.skips_wide = !is_wide && a.wide != nullptr;
  tile.window = is_wide ? 0 : a.window;
  tile.pairs = active_rows(tile.list, a.tokens) * group;
  tile.first_pair = (tiles_of(tile.pairs) - 1 - (is_wide ? index : index - wide)) * kTileRows;
  const int last_pair = min(tile.first_pair + kTileRows, tile.pairs) - 1;
  const int first = start + token_of(tile.list, tile.first_pair / group);
  tile.last = start + token_of(tile.list, last_pair / group);
  tile.begin = tile.begin_of(first);
  tile.mask_to = tile.begin_of(tile.last);
  tile.mask_from = first + 1;
  return tile;
}

// The keys of a tile, 128 at a time, in runs that lie one after another: those of the sinks in the cache and the fresh
// ones, then of the rest those of the cache before and after its ring wraps, and the fresh ones.
struct KeyRun {
  int first, end;  // positions
  int slot;        // where the first lies in its tensor
  bool fresh;

  __device__ int tiles() const { return (max(end - first, 0) + kTileKeys - 1) / kTileKeys; }
};
constexpr int kKeyRuns = 5;
struct KeyRuns {
  KeyRun run[kKeyRuns];

  __device__ int tiles() const {
    int all = 0;
#pragma unroll
    for (int i = 0; i < kKeyRuns; ++i) all += run[i].tiles();
    return all;
  }
};
__device__ inline KeyRuns key_runs(const AttentionArguments& a, int start, int begin, int last) {
  const int end = last + 1, sinks_end = min(a.sinks, begin), ring = a.capacity - a.cache_sinks;
  const int fresh_from = a.fresh_keys != nullptr ? start : INT32_MAX;
  const int slot = begin < a.capacity ? begin : a.cache_sinks + (begin - a.cache_sinks) % ring;
  const int cached_end = min(fresh_from, end), wrap = min(begin + (a.capacity - slot), cached_end);
  const int fresh = max(begin, fresh_from);
  return {{{0, min(sinks_end, fresh_from), 0, false},
           {min(sinks_end, fresh_from), sinks_end, 0, true},
           {begin, wrap, slot, false},
           {max(begin, wrap), cached_end, a.cache_sinks, false},
           {fresh, end, fresh - start, true}}};
}

struct KeyTile {
  int first, count;  // positions
  int slot;          // where the first lies in its tensor
  bool fresh;
};
__device__ inline KeyTile key_tile(const KeyRuns& runs, int index) {
  KeyRun in = runs.run[0];
#pragma unroll
  for (int i = 1; i < kKeyRuns; ++i) {
    if (index >= in.tiles()) {
      index -= in.tiles();
      in = runs.run[i];
    }
  }
  const int skipped = index * kTileKeys, first = in.first + skipped;
  return {first, min(kTileKeys, in.end - first), in.slot + skipped, in.fresh};
}

// How a call is cut, in device memory. Of every head the long tiles (the wide ones, or all where there are none) are
// `splits` pieces of up to `length` key tiles, of which the last ones may be empty. Then come the other tiles, uncut.
struct AttentionPlan {
  int next;  // piece that no one has taken
  int long_tiles, tiles, length, splits;

  __device__ int long_pieces(int heads) const { return long_tiles * heads * splits; }
  __device__ int pieces(int heads) const {
    return long_pieces(heads) + (tiles - long_tiles) * heads;
  }
};
__device__ inline int long_tiles(const AttentionArguments& a) {
  return a.wide != nullptr && a.wide[0] > 0 ? wide_tiles(a) : tile_count(a);
}

}  // namespace l2a::cuda
