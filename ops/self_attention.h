// One attention block in primitives: projections, biases, head norms, RoPE, cache append,
// attention, output projection. Dense layers, the local branch of L2A and its global branch are all
// this, with other weights.
#pragma once

#include "graph/graph.h"
#include "ops/attention.h"
#include "ops/rope.h"

namespace l2a {

// Biases and norms are empty where an architecture has none.
struct AttentionWeights {
  Tensor q, k, v, output;                      // [Hq*D, E], [Hk*D, E], [Hk*D, E], [E, Hq*D]
  Tensor q_bias, k_bias, v_bias, output_bias;  // f32, as long as the first extent of the weight
  Tensor q_norm, k_norm;                       // f32 [D]
};

struct AttentionHeads {
  std::int64_t query = 0, kv = 0, dim = 0;  // Hq, Hk, D
  float norm_eps = 0;                       // of the per-head norms
  RopePairing pairing = RopePairing::half;
};

struct KvCache {
  Tensor keys, values;     // states [C, Hk, D]
  std::int64_t sinks = 0;  // fixed slots (kv_append.h)
  bool ring = false;       // C may be less than the context
};

struct AttentionBlock {
  AttentionWeights weights;
  AttentionHeads heads;
  KvCache cache;
};

// Inputs of a run that every layer shares.
struct TokenInputs {
  Tensor positions;   // i32 [T]
  Tensor rope_table;  // of those positions (rope.h)
};

struct AttentionSpan {
  std::int64_t window = 0, sinks = 0;  // window 0: all keys
  Rows wide;                           // tokens that see all keys all the same
};

// Keys and values come from `source` [T, E], normalized, and are cached for every token; queries
// come from `query_source`, which is `source` itself or rows gathered from it. -> f32 [T, E],
// compact when the query is.
Tensor self_attention(GraphBuilder& graph, Tensor query_source, Tensor source,
                      const AttentionBlock& block, const TokenInputs& tokens,
                      const AttentionSpan& span);

// What every token's attention gives over all keys, and what it would give over the span alone. Projections and appends
// to the cache happen once. The cache is no ring.
struct AttentionPair {
  Tensor all, narrow;  // f32 [T, E]
};
AttentionPair self_attention_pair(GraphBuilder& graph, Tensor source, const AttentionBlock& block,
                                  const TokenInputs& tokens, const AttentionSpan& span);

}  // namespace l2a
