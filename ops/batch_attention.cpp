#include "ops/batch_attention.h"

#include "ops/add.h"
#include "ops/check.h"
#include "ops/concat_rows.h"
#include "ops/gather_rows.h"
#include "ops/kv_append.h"
#include "ops/projections.h"
#include "ops/route.h"
#include "ops/scatter_add_rows.h"

namespace l2a {
namespace {

Tensor row(GraphBuilder& graph, Tensor x, std::size_t token) {
  const auto t = static_cast<std::int64_t>(token);
  return graph.slice(x, t, t + 1);
}

KeysAndValues append_keys(GraphBuilder& graph, Tensor source, const BatchBlock& block,
                          const BatchInputs& inputs) {
  const BatchCache& cache = block.cache;
  const KeysAndValues made =
      project_keys(graph, source, block.weights, block.heads, inputs.tokens.rope_table);
  return {kv_append(graph, cache.keys, made.keys, cache.places, 0),
          kv_append(graph, cache.values, made.values, cache.places, 0)};
}

// All that a token's attention reads but its query.
AttentionInputs keys_of(GraphBuilder& graph, const BatchCache& cache, const KeysAndValues& appended,
                        const BatchInputs& inputs, std::size_t token) {
  const std::int64_t begin = inputs.sequences[token] * cache.stride;
  AttentionInputs own;
  own.keys = graph.slice(appended.keys, begin, begin + cache.capacity);
  own.values = graph.slice(appended.values, begin, begin + cache.capacity);
  own.positions = row(graph, inputs.tokens.positions, token);
  return own;
}

}  // namespace

Tensor batch_self_attention(GraphBuilder& graph, Tensor source, const BatchBlock& block,
                            const BatchInputs& inputs, const AttentionSpan& span,
                            const std::vector<Rows>& wide) {
  const KeysAndValues appended = append_keys(graph, source, block, inputs);
  const Tensor query =
      project_query(graph, source, block.weights, block.heads, inputs.tokens.rope_table);
  const AttentionOptions options{span.window, span.sinks, block.cache.sinks};
  std::vector<Tensor> mixed;
  for (std::size_t t = 0; t < inputs.sequences.size(); ++t) {
    AttentionInputs own = keys_of(graph, block.cache, appended, inputs, t);
    own.query = row(graph, query, t);
    if (!wide.empty()) own.wide = wide[t];
    mixed.push_back(flat_attention(graph, own, options));
  }
  return project(graph, concat_rows(graph, mixed), block.weights.output, block.weights.output_bias);
}

BatchL2aResult batch_l2a_attention(GraphBuilder& graph, Tensor x, Tensor h, const BatchBlock& block,
                                   const L2aRouter& router, const BatchInputs& inputs,
                                   const L2aOptions& options) {
  require(!block.cache.ring,
          "batch_l2a_attention: routed tokens read every key, so their cache cannot be a ring");
  const Tensor asked = router.input ? router.input : h;
  const auto ask = [&](std::size_t t) {
    return route(graph, row(graph, asked, t), router.weight, router.bias, options.cut);
  };
  BatchL2aResult result;
  const std::size_t count = inputs.sequences.size();
  if (options.mode == L2aMode::widen) {
    require(options.window > 0, "batch_l2a_attention: widening needs a window");
    for (std::size_t t = 0; t < count; ++t) result.rows.push_back(ask(t));
    const AttentionSpan span{options.window, options.sinks, {}};
    result.x = add(graph, x, batch_self_attention(graph, h, block, inputs, span, result.rows));
    return result;
  }
  const AttentionWeights& weights = block.weights;
  const KeysAndValues appended = append_keys(graph, h, block, inputs);
  std::vector<Tensor> sums;
  for (std::size_t t = 0; t < count; ++t) {
    result.rows.push_back(ask(t));
    const Tensor routed = gather_rows(graph, row(graph, h, t), result.rows.back());
    AttentionInputs own = keys_of(graph, block.cache, appended, inputs, t);
    own.query =
        project_query(graph, routed, weights, block.heads, row(graph, inputs.tokens.rope_table, t));
    const Tensor mixed = flat_attention(graph, own, {0, 0, block.cache.sinks});
    const Tensor delta = project(graph, mixed, weights.output, weights.output_bias);
    sums.push_back(scatter_add_rows(graph, row(graph, x, t), delta));
  }
  result.x = concat_rows(graph, sums);
  return result;
}

}  // namespace l2a
