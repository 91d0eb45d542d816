// Which keys a row sees and where they lie: the same arithmetic for every attention kernel (ops/attention.h).
#pragma once

#include <cstdint>

#include "backends/cuda/kernels/device_math.cuh"

namespace l2a::cuda {

struct AttentionArguments {
  const float* query = nullptr;  // [T, Hq, D]
  float* out = nullptr;
  const void *keys = nullptr, *values = nullptr;              // [C, Hk, D]
  const void *fresh_keys = nullptr, *fresh_values = nullptr;  // [T, Hk, D] or null
  const std::int32_t* positions = nullptr;
  const std::int32_t *wide = nullptr, *rows = nullptr;  // Rows or null
  int tokens = 0, query_heads = 0, key_heads = 0, dim = 0;
  int capacity = 0, cache_sinks = 0;
  int window = 0, sinks = 0;
  float scale = 1;

  __host__ __device__ int group() const { return query_heads / key_heads; }
};

// Where the keys and values of a position lie for one head.
template <class T>
struct KeyValue {
  const T *key, *value;
};
template <class T>
__device__ inline KeyValue<T> key_value(const AttentionArguments& a, int start, int position,
                                        int head) {
  const bool fresh = a.fresh_keys != nullptr && position >= start;
  int slot = position;
  if (fresh) {
    slot = position - start;
  } else if (position >= a.capacity) {
    slot = a.cache_sinks + (position - a.cache_sinks) % (a.capacity - a.cache_sinks);
  }
  const std::int64_t at = (static_cast<std::int64_t>(slot) * a.key_heads + head) * a.dim;
  return {static_cast<const T*>(fresh ? a.fresh_keys : a.keys) + at,
          static_cast<const T*>(fresh ? a.fresh_values : a.values) + at};
}

// Whether a Rows lists the token.
__device__ inline bool lists(const std::int32_t* rows, int token) {
  int low = 1, high = rows[0] + 1;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (rows[middle] < token) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low <= rows[0] && rows[low] == token;
}

// What one row of the query sees: keys up to its position, all of them, or the last ones and the sinks.
struct RowView {
  int position;  // -1: there is no such row
  int begin;     // of the window

  __device__ bool sees(int key, int sinks) const {
    return key <= position && (key >= begin || key < sinks);
  }
};
__device__ inline RowView row_view(const AttentionArguments& a, int start, int row) {
  const int token = token_of(a.rows, row);
  RowView view;
  view.position = start + token;
  const bool windowed =
      a.window > 0 && view.position + 1 > a.window && !(a.wide != nullptr && lists(a.wide, token));
  view.begin = windowed ? view.position + 1 - a.window : 0;
  return view;
}

// The keys that rows [first, last) see together, in blocks of `size`: the blocks of the sinks, then those from the
// earliest window to the last position.
struct KeyBlocks {
  int size, sink_blocks, first, count;  // of the later ones the first; all of both
  int begin, sinks_end, last;  // keys outside [begin, last] and [0, sinks_end) are no one's

  __device__ int key(int block) const {  // the first of a block
    return (block < sink_blocks ? block : first + block - sink_blocks) * size;
  }
  __device__ bool wanted(int key) const { return key <= last && (key >= begin || key < sinks_end); }
};
__device__ inline KeyBlocks key_blocks(const AttentionArguments& a, int size, int begin, int last) {
  KeyBlocks blocks{};
  blocks.size = size;
  blocks.begin = begin;
  blocks.last = last;
  blocks.sinks_end = min(a.sinks, begin);
  blocks.sink_blocks = (blocks.sinks_end + size - 1) / size;
  blocks.first = max(begin / size, blocks.sink_blocks);
  blocks.count = blocks.sink_blocks + max(last / size + 1 - blocks.first, 0);
  return blocks;
}

}  // namespace l2a::cuda
