// Attention of several sequences in one run, one token of each: what reads weights is shared by all tokens, and each attends
// to its own sequence's keys. The same blocks as in self_attention.h and l2a_attention.h.
//
// The caches of all sequences lie in one tensor, so that one append takes every token's keys. The host says where they go,
// because only it needs to know where each sequence is.
#pragma once

#include <vector>

#include "ops/l2a_attention.h"

namespace l2a {

struct BatchCache {
  Tensor keys, values;  // states [P * stride, Hk, D]: those of P sequences, one behind the other
  std::int64_t stride = 0;    // slots from one sequence's first to the next one's
  std::int64_t capacity = 0;  // C slots of a sequence, at most the stride
  std::int64_t sinks = 0;     // fixed slots of each (kv_append.h)
  bool ring = false;          // C may be less than the context
  Tensor
      places;  // i32 [S]: sequence * stride + slot of each token's position (cache_slot); no two are the same
};

struct BatchBlock {
  AttentionWeights weights;
  AttentionHeads heads;
  BatchCache cache;
};

struct BatchInputs {
  TokenInputs tokens;                   // of S tokens
  std::vector<std::int64_t> sequences;  // whose each is, of P; all distinct
};

// source [S, E], normalized -> f32 [S, E]. `wide`, when given, has for each token the Rows [1] that say whether it sees all
// keys all the same; `span.wide` is not used.
Tensor batch_self_attention(GraphBuilder& graph, Tensor source, const BatchBlock& block,
                            const BatchInputs& inputs, const AttentionSpan& span,
                            const std::vector<Rows>& wide = {});

struct BatchL2aResult {
  Tensor x;                // [S, E]
  std::vector<Rows> rows;  // of at most one token each: whether it was routed
};

// As l2a_attention. In "add" the queries, attention and output projection of a routed token read their weights for it
// alone, so that a token that is not routed costs none of them.
BatchL2aResult batch_l2a_attention(GraphBuilder& graph, Tensor x, Tensor h, const BatchBlock& block,
                                   const L2aRouter& router, const BatchInputs& inputs,
                                   const L2aOptions& options);

}  // namespace l2a
