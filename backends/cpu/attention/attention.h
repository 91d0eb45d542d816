// What the ways to compute attention share: who sees which keys, where those are, and scratch memory.
#pragma once

#include <algorithm>

#include "backends/cpu/kernel.h"
#include "ops/attention.h"
#include "ops/kv_append.h"

namespace l2a::cpu {

inline constexpr std::int64_t kKeyBlock = 64;  // keys between two steps of the softmax

// Scratch memory in pieces that begin on cache lines. With a null start it only counts.
class Scratch {
 public:
  explicit Scratch(std::byte* start) : start_(start) {}

  template <class T>
  T* take(std::int64_t count) {
    std::byte* piece = start_ == nullptr ? nullptr : start_ + used_;
    used_ += (static_cast<std::size_t>(count) * sizeof(T) + 63) / 64 * 64;
    return reinterpret_cast<T*>(piece);
  }
  std::size_t used() const { return used_; }

 private:
  std::byte* start_;
  std::size_t used_ = 0;
};

class AttentionCall {
 public:
  explicit AttentionCall(const CpuCall& call)
      : cpu(call),
        options(call.attributes<Attention>().options),
        query(input(Attention::kQuery)),
        key_heads(input(Attention::kKeys).shape[1]),
        group(query.shape[1] / key_heads),
        dim(query.shape[2]) {}

  const CpuCall& cpu;
  const AttentionOptions& options;
  const TensorView& query;
  const std::int64_t key_heads, group, dim;  // `group` query heads share a key head

  const TensorView& input(Attention::Input i) const {
    return cpu.inputs[static_cast<std::size_t>(i)];
  }
  std::int64_t rows() const { return active_rows(input(Attention::kRows), query.shape[0]); }
  std::int64_t start() const { return *input(Attention::kPositions).row<const std::int32_t>(0); }
  const FloatRow& cached() const { return cpu.simd.float_row(input(Attention::kKeys).dtype); }

  bool is_wide(std::int64_t row) const {
    const TensorView& wide = input(Attention::kWideRows);
    if (!wide) return false;
    const auto* list = wide.row<const std::int32_t>(1);
    return std::binary_search(list, list + active_rows(wide, query.shape[0]), row);
  }
  KeyRange range(std::int64_t row) const {
    return key_range(options, start() + token_of_row(input(Attention::kRows), row), is_wide(row));
  }

  // Writes to `rows_out` where the keys or values of positions [first, last) are, for a head.
  void addresses(Attention::Input cache_input, Attention::Input fresh_input, std::int64_t head,
                 std::int64_t first, std::int64_t last, const std::byte** rows_out) const {
    const TensorView &cache = input(cache_input), &fresh = input(fresh_input);
    const std::int64_t cached_end = fresh ? std::min(last, std::max(first, start())) : last;
    std::int64_t position = first;
    if (position < cached_end) {
      // Slots follow one another, out of the sinks into the ring, and wrap at its end.
      std::int64_t slot = cache_slot(position, cache.shape[0], options.cache_sinks);
      for (; position < cached_end; ++position) {
        *rows_out++ = cache.row<const std::byte>(slot, head);
        if (++slot == cache.shape[0]) slot = options.cache_sinks;
      }
    }
    for (; position < last; ++position)
      *rows_out++ = fresh.row<const std::byte>(position - start(), head);
  }
};

// All write the whole output. The workspaces are what they need at most.
void attend_many_rows(const AttentionCall& call);
std::size_t many_rows_workspace(const AttentionCall& call);

// By AMX, where has_tiles().
void attend_amx_rows(const AttentionCall& call);
std::size_t amx_rows_workspace(const AttentionCall& call);
bool has_tiles(const AttentionCall& call);

// At most few_rows() of them, and of caches whose heads follow one another.
void attend_few_rows(const AttentionCall& call);
std::size_t few_rows_workspace(const AttentionCall& call);
std::int64_t few_rows(const AttentionCall& call);
bool has_whole_rows(const AttentionCall& call);

}  // namespace l2a::cpu
