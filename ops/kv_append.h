// Writes the keys or values of this run's tokens into a cache.
//
// A cache holds C positions in slots: the first S positions (sinks) keep slots of their own, later
// ones go round the remaining C - S. With C above every position this is a plain growing cache,
// with C = W + S a ring.
#pragma once

#include "graph/graph.h"

namespace l2a {

// f32, f16, bf16, and q8_0 where heads are whole blocks.
bool is_cache_dtype(Dtype dtype);

// Slot of a position in a cache of `capacity` slots with `sinks` fixed ones; capacity > sinks.
inline std::int64_t cache_slot(std::int64_t position, std::int64_t capacity, std::int64_t sinks) {
  return position < sinks ? position : sinks + (position - sinks) % (capacity - sinks);
}

struct KvAppend final : Op {
  static constexpr std::string_view kName = "kv_append";
  enum Input { kCache, kX, kPositions };

  explicit KvAppend(std::int64_t s) : sinks(s) {}
  const std::int64_t sinks;

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Aliasing aliasing() const override { return {Aliasing::Kind::mutates, kCache}; }
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// cache (a state) [C, Hk, D] of f32, f16, bf16 or q8_0; x [T, Hk, D] f32 or of the cache's dtype;
// positions i32 [T]: consecutive, and where more tokens come than a ring holds, the last ones stay; or, of no more tokens
// than C - sinks, any whose slots differ.
// Result: the cache after the append.
Tensor kv_append(GraphBuilder& graph, Tensor cache, Tensor x, Tensor positions, std::int64_t sinks);

}  // namespace l2a
