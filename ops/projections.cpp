#include "ops/projections.h"

#include "ops/add.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"

namespace l2a {
namespace {

// Projects to heads [T, H, D] and, where the block has them, applies the head norm.
Tensor project_heads(GraphBuilder& graph, Tensor x, Tensor weight, Tensor bias, Tensor norm,
                     const AttentionHeads& heads, std::int64_t count) {
  const Tensor flat = project(graph, x, weight, bias);
  const Tensor split = graph.reshape(flat, {graph.shape(flat)[0], count, heads.dim});
  return norm ? rms_norm(graph, split, norm, heads.norm_eps) : split;
}

}  // namespace

Tensor project(GraphBuilder& graph, Tensor x, Tensor weight, Tensor bias) {
  const Tensor y = matmul(graph, x, weight);
  return bias ? add(graph, y, bias) : y;
}

KeysAndValues project_keys(GraphBuilder& graph, Tensor source, const AttentionWeights& weights,
                           const AttentionHeads& heads, Tensor rope_table) {
  const Tensor k =
      project_heads(graph, source, weights.k, weights.k_bias, weights.k_norm, heads, heads.kv);
  return {rope(graph, k, rope_table, heads.pairing),
          project_heads(graph, source, weights.v, weights.v_bias, {}, heads, heads.kv)};
}

Tensor project_query(GraphBuilder& graph, Tensor source, const AttentionWeights& weights,
                     const AttentionHeads& heads, Tensor rope_table) {
  const Tensor q =
      project_heads(graph, source, weights.q, weights.q_bias, weights.q_norm, heads, heads.query);
  return rope(graph, q, rope_table, heads.pairing);
}

Tensor flat_attention(GraphBuilder& graph, const AttentionInputs& inputs,
                      const AttentionOptions& options) {
  const Tensor mixed = attention(graph, inputs, options);
  const Shape& shape = graph.shape(mixed);
  return graph.reshape(mixed, {shape[0], shape[1] * shape[2]});
}

}  // namespace l2a
