#include "ops/self_attention.h"

#include "ops/add.h"
#include "ops/cast.h"
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

}  // namespace

Tensor self_attention(GraphBuilder& graph, Tensor query_source, Tensor source,
                      const AttentionBlock& block, const TokenInputs& tokens,
                      const AttentionSpan& span) {
  const AttentionWeights& w = block.weights;
  const AttentionHeads& heads = block.heads;
  const KvCache& cache = block.cache;
  const std::int64_t count = graph.shape(source)[0];

  Tensor k = project_heads(graph, source, w.k, w.k_bias, w.k_norm, heads, heads.kv);
  k = rope(graph, k, tokens.rope_table, heads.pairing);
  Tensor v = project_heads(graph, source, w.v, w.v_bias, {}, heads, heads.kv);

  AttentionInputs inputs;
  inputs.keys = cache.keys;
  inputs.values = cache.values;
  inputs.positions = tokens.positions;
  inputs.wide = span.wide;
  auto append = [&] {
    inputs.keys = kv_append(graph, cache.keys, k, tokens.positions, cache.sinks);
    inputs.values = kv_append(graph, cache.values, v, tokens.positions, cache.sinks);
  };
  // A chunk would push out of a ring what its first tokens still see, so it is read from where it
  // was computed (rounded as the cache rounds, so that the size of chunks changes nothing) and
  // appended afterwards.
  const bool fresh = cache.ring && count > 1;
  if (fresh) {
    const Dtype dtype = graph.info(cache.keys).dtype;
    if (dtype != Dtype::f32) {
      k = cast(graph, k, dtype);
      v = cast(graph, v, dtype);
    }
    inputs.fresh_keys = k;
    inputs.fresh_values = v;
  } else {
    append();
  }

  Tensor q = project_heads(graph, query_source, w.q, w.q_bias, w.q_norm, heads, heads.query);
  inputs.query = rope(graph, q, tokens.rope_table, heads.pairing);
  const AttentionOptions options{span.window, span.sinks, cache.sinks};
  const Tensor mixed = attention(graph, inputs, options);
  if (fresh) append();

  const Tensor flat = graph.reshape(mixed, {graph.shape(mixed)[0], heads.query * heads.dim});
  return project(graph, flat, w.output, w.output_bias);
}

}  // namespace l2a
