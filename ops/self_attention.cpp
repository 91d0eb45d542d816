#include "ops/self_attention.h"

#include "ops/cast.h"
#include "ops/check.h"
#include "ops/kv_append.h"
#include "ops/projections.h"

namespace l2a {
namespace {

void append(GraphBuilder& graph, const KvCache& cache, const KeysAndValues& fresh,
            const TokenInputs& tokens, AttentionInputs& inputs) {
  inputs.keys = kv_append(graph, cache.keys, fresh.keys, tokens.positions, cache.sinks);
  inputs.values = kv_append(graph, cache.values, fresh.values, tokens.positions, cache.sinks);
}

AttentionOptions options_of(const AttentionBlock& block, const AttentionSpan& span) {
  return {span.window, span.sinks, block.cache.sinks};
}

}  // namespace

Tensor self_attention(GraphBuilder& graph, Tensor query_source, Tensor source,
                      const AttentionBlock& block, const TokenInputs& tokens,
                      const AttentionSpan& span) {
  const KvCache& cache = block.cache;
  KeysAndValues made = project_keys(graph, source, block.weights, block.heads, tokens.rope_table);
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
  inputs.query = project_query(graph, query_source, block.weights, block.heads, tokens.rope_table);
  const Tensor flat = flat_attention(graph, inputs, options_of(block, span));
  if (fresh) append(graph, cache, made, tokens, inputs);
  return project(graph, flat, block.weights.output, block.weights.output_bias);
}

AttentionPair self_attention_pair(GraphBuilder& graph, Tensor source, const AttentionBlock& block,
                                  const TokenInputs& tokens, const AttentionSpan& span) {
  require(!block.cache.ring, "self_attention_pair: all keys are read, so the cache is no ring");
  AttentionInputs inputs;
  inputs.positions = tokens.positions;
  const AttentionWeights& w = block.weights;
  append(graph, block.cache, project_keys(graph, source, w, block.heads, tokens.rope_table), tokens,
         inputs);
  inputs.query = project_query(graph, source, w, block.heads, tokens.rope_table);
  const Tensor all = flat_attention(graph, inputs, options_of(block, {}));
  const Tensor narrow = flat_attention(graph, inputs, options_of(block, span));
  return {project(graph, all, w.output, w.output_bias),
          project(graph, narrow, w.output, w.output_bias)};
}

}  // namespace l2a
