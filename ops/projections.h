// What lies around the attention of a block: from rows to rotated heads, and from mixed heads back to rows.
#pragma once

#include "ops/self_attention.h"

namespace l2a {

// x [T, K] through a weight and, where there is one, a bias.
Tensor project(GraphBuilder& graph, Tensor x, Tensor weight, Tensor bias);

// Keys, rotated, and values [T, Hk, D] of every token.
struct KeysAndValues {
  Tensor keys, values;
};
KeysAndValues project_keys(GraphBuilder& graph, Tensor source, const AttentionWeights& weights,
                           const AttentionHeads& heads, Tensor rope_table);

// Queries [T, Hq, D], rotated; compact when the source is.
Tensor project_query(GraphBuilder& graph, Tensor source, const AttentionWeights& weights,
                     const AttentionHeads& heads, Tensor rope_table);

// Attention as rows [T, Hq*D], what the output projection takes.
Tensor flat_attention(GraphBuilder& graph, const AttentionInputs& inputs,
                      const AttentionOptions& options);

}  // namespace l2a
