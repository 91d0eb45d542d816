#include "ops/self_attention.h"

#include "ops/add.h"
#include "ops/cast.h"
#include "ops/check.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"

namespace l2a {
namespace {

Tensor project(GraphBuilder& graph, Tensor x, Tensor weight, Tensor bias) {
  const Tensor y = matmul(graph, x, weight);
  return bias ? add(graph, y, bias) : y;
}

// Projects to heads [T, H, D] and, where the block has them, applies the head norm.
Tensor project_heads(GraphBuilder& graph, Tensor x, Tensor weight, Tensor bias, Tensor norm,
                     const AttentionHeads& heads, std::int64_t count) {
  const Tensor flat = project(graph, x, weight, bias);
  const Tensor split = graph.reshape(flat, {graph.shape(flat)[0], count, heads.dim});
  return norm ? rms_norm(graph, split, norm, heads.norm_eps) : split;
}

// Rotated keys and values [T, Hk, D] of every token.
struct KeysAndValues {
  Tensor keys, values;
};
KeysAndValues project_keys(GraphBuilder& graph, Tensor source, const AttentionBlock& block,
                           const TokenInputs& tokens) {
  const AttentionWeights& w = block.weights;
  const AttentionHeads& heads = block.heads;
  const Tensor k = project_heads(graph, source, w.k, w.k_bias, w.k_norm, heads, heads.kv);
  return {rope(graph, k, tokens.rope_table, heads.pairing),
          project_heads(graph, source, w.v, w.v_bias, {}, heads, heads.kv)};
}

void append(GraphBuilder& graph, const KvCache& cache, const KeysAndValues& fresh,
            const TokenInputs& tokens, AttentionInputs& inputs) {
  inputs.keys = kv_append(graph, cache.keys, fresh.keys, tokens.positions, cache.sinks);
  inputs.values = kv_append(graph, cache.values, fresh.values, tokens.positions, cache.sinks);
}

Tensor project_query(GraphBuilder& graph, Tensor source, const AttentionBlock& block,
                     const TokenInputs& tokens) {
  const AttentionWeights& w = block.weights;
  const Tensor q =
      project_heads(graph, source, w.q, w.q_bias, w.q_norm, block.heads, block.heads.query);
  return rope(graph, q, tokens.rope_table, block.heads.pairing);
}

Tensor flat_attention(GraphBuilder& graph, const AttentionInputs& inputs,
                      const AttentionBlock& block, const AttentionSpan& span) {
  const Tensor mixed = attention(graph, inputs, {span.window, span.sinks, block.cache.sinks});
  return graph.reshape(mixed, {graph.shape(mixed)[0], block.heads.query * block.heads.dim});
}

}  // namespace

Tensor self_attention(GraphBuilder& graph, Tensor query_source, Tensor source,
                      const AttentionBlock& block, const TokenInputs& tokens,
                      const AttentionSpan& span) {
  const KvCache& cache = block.cache;
  KeysAndValues made = project_keys(graph, source, block, tokens);
  AttentionInputs inputs;
  inputs.keys = cache.keys;
  inputs.values = cache.values;
  inputs.positions = tokens.positions;
  inputs.wide = span.wide;
  // A chunk would push out of a ring what its first tokens still see, so it is read from where it
  // was computed (rounded as the cache rounds, so that the size of chunks changes nothing) and
  // appended afterwards.
  const bool fresh = cache.ring && graph.shape(source)[0] > 1;
  if (fresh) {
    const Dtype dtype = graph.info(cache.keys).dtype;
    if (dtype != Dtype::f32) {
      made.keys = cast(graph, made.keys, dtype);
      made.values = cast(graph, made.values, dtype);
    }
    inputs.fresh_keys = made.keys;
    inputs.fresh_values = made.values;
  } else {
    append(graph, cache, made, tokens, inputs);
  }
  inputs.query = project_query(graph, query_source, block, tokens);
  const Tensor flat = flat_attention(graph, inputs, block, span);
  if (fresh) append(graph, cache, made, tokens, inputs);
  return project(graph, flat, block.weights.output, block.weights.output_bias);
}

AttentionPair self_attention_pair(GraphBuilder& graph, Tensor source, const AttentionBlock& block,
                                  const TokenInputs& tokens, const AttentionSpan& span) {
  require(!block.cache.ring, "self_attention_pair: all keys are read, so the cache is no ring");
  AttentionInputs inputs;
  inputs.positions = tokens.positions;
  append(graph, block.cache, project_keys(graph, source, block, tokens), tokens, inputs);
  inputs.query = project_query(graph, source, block, tokens);
  const AttentionWeights& w = block.weights;
  const Tensor all = flat_attention(graph, inputs, block, {});
  const Tensor narrow = flat_attention(graph, inputs, block, span);
  return {project(graph, all, w.output, w.output_bias),
          project(graph, narrow, w.output, w.output_bias)};
}

}  // namespace l2a
