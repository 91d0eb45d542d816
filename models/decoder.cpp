#include "models/decoder.h"

#include <algorithm>

#include "graph/error.h"
#include "ops/add.h"
#include "ops/argmax.h"
#include "ops/count_rows.h"
#include "ops/l2a_attention.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/route.h"
#include "ops/row_lookup.h"
#include "ops/silu_mul.h"
#include "ops/top_k.h"

namespace l2a {
namespace {

class DecoderBuilder {
 public:
  DecoderBuilder(const Model& model, const KvCaches& caches, const RouteTally& tally,
                 const DecoderRequest& request)
      : model_(model), config_(model.config()), caches_(caches), request_(request) {
    for (const auto& [backend, buffer] : tally) {
      tally_[backend] = graph_.state("routed", Dtype::i32, {config_.l2a->routed_layers()}, buffer);
    }
  }

  DecoderGraph build() {
    const std::int64_t count = request_.tokens;
    result_.tokens = graph_.input("tokens", Dtype::i32, {count});
    result_.positions = graph_.input("positions", Dtype::i32, {count});
    tokens_.positions = result_.positions;
    if (request_.forced_cut && !tally_.empty() && !request_.narrowing) {
      result_.draws = graph_.input("draws", Dtype::f32, {config_.l2a->routed_layers() * count, 1});
      result_.draw_weight = graph_.input("draw_weight", Dtype::f32, {1, 1});
    }
    tokens_.rope_table = rope_table(graph_, result_.positions, model_.rope_frequencies().in(graph_),
                                    model_.rope_table_factor());
    Tensor x = row_lookup(graph_, model_.token_embedding().in(graph_), result_.tokens);
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
      x = attention(x, layer);
      x = feed_forward(x, model_.layer(layer));
      graph_.name(x, concat("layer.", layer));
    }
    if (request_.logits != LogitsOf::none) head(x);
    if (request_.matmul_inputs) keep_matmul_inputs();
    if (request_.everything) {
      for (const Node& node : graph_.graph().nodes()) graph_.output({node.output});
    }
    result_.graph = graph_.build();
    return std::move(result_);
  }

 private:
  Tensor norm(Tensor x, const StoredTensor& weight) {
    return rms_norm(graph_, x, weight.in(graph_), config_.norm_eps);
  }

  Tensor attention(Tensor x, std::int64_t index) {
    const StoredLayer& layer = model_.layer(index);
    const Tensor h = norm(x, layer.attention_norm);
    const AttentionBlock block{layer.attention.in(graph_), config_.attention_heads(),
                               caches_.local(graph_, index)};
    if (request_.narrowing) return narrowed(x, h, block, index);
    const bool widens = config_.l2a && config_.l2a->mode == L2aMode::widen;
    if (widens && config_.routes(index)) return routed(x, h, block, index);

    AttentionSpan span;
    if (config_.l2a) span = {config_.l2a->window, config_.l2a->sinks, {}};
    x = add(graph_, x, self_attention(graph_, h, h, block, tokens_, span));
    if (!config_.routes(index)) return x;

    const AttentionBlock global{layer.global_attention.in(graph_), config_.attention_heads(),
                                caches_.global(graph_, index)};
    return routed(x, norm(x, layer.global_norm), global, index);
  }

  Tensor narrowed(Tensor x, Tensor h, const AttentionBlock& block, std::int64_t index) {
    AttentionSpan span{request_.narrowing->window, request_.narrowing->sinks, {}};
    if (request_.narrowing->layer) {
      if (index != *request_.narrowing->layer) span = {};
      return add(graph_, x, self_attention(graph_, h, h, block, tokens_, span));
    }
    const AttentionPair pair = self_attention_pair(graph_, h, block, tokens_, span);
    result_.narrowed.push_back({x, h, pair.all, pair.narrow});
    for (const Tensor kept : {x, h, pair.all, pair.narrow}) graph_.output(kept);
    return add(graph_, x, pair.all);
  }

  Tensor routed(Tensor x, Tensor h, const AttentionBlock& block, std::int64_t index) {
    const L2aConfig& l2a = *config_.l2a;
    const StoredLayer& layer = model_.layer(index);
    const float own_cut = router_cut(l2a.temperature, l2a.threshold);
    L2aOptions options{l2a.mode, l2a.window, l2a.sinks, request_.router_cut.value_or(own_cut)};
    L2aRouter router{layer.router.in(graph_), layer.router_bias.in(graph_), {}};
    if (request_.forced_cut) {
      const std::int64_t first = routed_layers_ * request_.tokens;
      router = {
          result_.draw_weight, {}, graph_.slice(result_.draws, first, first + request_.tokens)};
      options.cut = *request_.forced_cut;
    }
    const L2aResult result = l2a_attention(graph_, x, h, block, router, tokens_, options);
    const Tensor rows{result.rows.id};
    graph_.name(rows, concat("rows.", routed_layers_));
    count_rows(graph_, tally_.at(&model_.placement().layer(index)), result.rows, routed_layers_++);
    if (request_.routes) {
      graph_.output(rows);
      result_.routes.push_back(rows);
    }
    return result.x;
  }

  Tensor feed_forward(Tensor x, const StoredLayer& layer) {
    const Tensor h = norm(x, layer.feed_forward_norm);
    const Tensor gate = matmul(graph_, h, layer.gate.in(graph_));
    const Tensor up = matmul(graph_, h, layer.up.in(graph_));
    return add(graph_, x, matmul(graph_, silu_mul(graph_, gate, up), layer.down.in(graph_)));
  }

  void head(Tensor x) {
    if (request_.logits == LogitsOf::last)
      x = graph_.slice(x, request_.tokens - 1, request_.tokens);
    result_.logits = matmul(graph_, norm(x, model_.output_norm()), model_.output().in(graph_));
    graph_.name(result_.logits, "logits");
    result_.most_likely = argmax(graph_, result_.logits);
    graph_.output(result_.logits);
    graph_.output(result_.most_likely);
    if (request_.candidates > 0) {
      result_.candidates =
          top_k(graph_, result_.logits, std::min(request_.candidates, config_.vocabulary));
      graph_.output(result_.candidates);
    }
  }

  void keep_matmul_inputs() {
    std::vector<MatmulInput>& kept = result_.matmul_inputs;
    for (const Node& node : graph_.graph().nodes()) {
      if (node.op->name() != Matmul::kName) continue;
      const Tensor x{node.inputs[Matmul::kX]};
      auto found = std::find_if(kept.begin(), kept.end(),
                                [&](const MatmulInput& input) { return input.values.id == x.id; });
      if (found == kept.end()) {
        found = kept.insert(kept.end(), {x, {node.inputs[Matmul::kRows]}, {}});
        graph_.output(x);
        if (found->rows) graph_.output(found->rows);
      }
      found->weights.push_back(graph_.graph().value(node.inputs[Matmul::kWeight]).name);
    }
  }

  const Model& model_;
  const ModelConfig& config_;
  const KvCaches& caches_;
  const DecoderRequest& request_;
  GraphBuilder graph_;
  DecoderGraph result_;
  TokenInputs tokens_;
  std::map<const Backend*, Tensor> tally_;
  std::int64_t routed_layers_ = 0;
};

}  // namespace

DecoderGraph build_decoder(const Model& model, const KvCaches& caches, const RouteTally& tally,
                           const DecoderRequest& request) {
  return DecoderBuilder(model, caches, tally, request).build();
}

}  // namespace l2a
