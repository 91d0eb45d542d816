// Causal softmax attention over a KV cache, for all tokens or for the rows of a compact query, with
// an optional sliding window and sinks (design: every token t sees keys j with t - W < j <= t, and
// the first S).
//
// Where the keys are. Without `fresh` tensors every key is in the cache, this run's included:
// append first. A ring of W + S slots cannot hold a chunk and the window before it, so for a chunk
// of several tokens on a ring, pass the chunk's own keys and values as `fresh` and append
// afterwards: keys from position[0] on are then read from `fresh`, older ones from the ring.
#pragma once

#include "graph/graph.h"

namespace l2a {

struct AttentionOptions {
  std::int64_t window = 0;       // W; 0: no window
  std::int64_t sinks = 0;        // S; 0 without a window
  std::int64_t cache_sinks = 0;  // fixed slots of the cache (kv_append.h)
};

struct Attention final : Op {
  static constexpr std::string_view kName = "attention";
  enum Input { kQuery, kKeys, kValues, kPositions, kFreshKeys, kFreshValues, kWideRows, kRows };

  explicit Attention(const AttentionOptions& o) : options(o) {}
  const AttentionOptions options;

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

struct AttentionInputs {
  Tensor query;                     // f32 [T, Hq, D], full or compact
  Tensor keys, values;              // caches [C, Hk, D] of one dtype; Hq is a multiple of Hk
  Tensor positions;                 // i32 [T], consecutive
  Tensor fresh_keys, fresh_values;  // optional: [T, Hk, D] of the caches' dtype
  Rows wide;  // optional, full query only: these tokens see every key, without a window
};

// -> f32 [T, Hq, D], compact when the query is. Scores are scaled by 1/sqrt(D).
Tensor attention(GraphBuilder& graph, const AttentionInputs& inputs,
                 const AttentionOptions& options);

// Where a token finds its keys: the same arithmetic for every backend on the host.
struct KeyRange {
  std::int64_t sinks_end;  // keys [0, sinks_end)
  std::int64_t begin;      // and [begin, end)
  std::int64_t end;
};
inline KeyRange key_range(const AttentionOptions& options, std::int64_t position, bool wide) {
  const bool windowed = options.window > 0 && !wide && position + 1 > options.window;
  const std::int64_t begin = windowed ? position + 1 - options.window : 0;
  return {options.sinks < begin ? options.sinks : begin, begin, position + 1};
}

}  // namespace l2a
