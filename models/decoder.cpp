#include "models/decoder.h"

#include <algorithm>

#include "graph/error.h"
#include "ops/add.h"
#include "ops/argmax.h"
#include "ops/batch_attention.h"
#include "ops/count_rows.h"
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
      tally_[backend] = graph_.state("routed", Dtype::i32,
                                     {caches.sequences() * config_.l2a->routed_layers()}, buffer);
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
    if (request_.batched()) {
      result_.places = {graph_.input("places", Dtype::i32, {count}),
                        graph_.input("ring_places", Dtype::i32, {count})};
      batch_ = {tokens_, request_.sequences};
    }
    Tensor x = row_lookup(graph_, model_.token_embedding().in(graph_), result_.tokens);
    for (std::int64_t layer = 0; layer < config_.layers; ++layer) {
      const Tensor h = norm(x, model_.layer(layer).attention_norm);
      if (request_.narrowing) {
        x = narrowed(x, h, layer);
      } else {
        x = request_.batched() ? attention(x, h, layer, result_.places)
                               : attention(x, h, layer, request_.sequences[0]);
      }
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

  // A layer is the same for one sequence and for a batch but for where its keys are, and for who attends to them.
  AttentionBlock block(const StoredAttention& weights, const KvCache& cache) {
    return {weights.in(graph_), config_.attention_heads(), cache};
  }
  BatchBlock block(const StoredAttention& weights, const BatchCache& cache) {
    return {weights.in(graph_), config_.attention_heads(), cache};
  }
  Tensor attend(Tensor h, const AttentionBlock& block, const AttentionSpan& span) {
    return self_attention(graph_, h, h, block, tokens_, span);
  }
  Tensor attend(Tensor h, const BatchBlock& block, const AttentionSpan& span) {
    return batch_self_attention(graph_, h, block, batch_, span);
  }
  BatchL2aResult attend(Tensor x, Tensor h, const AttentionBlock& block, const L2aRouter& router,
                        const L2aOptions& options) {
    const L2aResult result = l2a_attention(graph_, x, h, block, router, tokens_, options);
    return {result.x, {result.rows}};
  }
  BatchL2aResult attend(Tensor x, Tensor h, const BatchBlock& block, const L2aRouter& router,
                        const L2aOptions& options) {
    return batch_l2a_attention(graph_, x, h, block, router, batch_, options);
  }

  // `where`: the sequence, or the places of a batch's keys.
  template <class Where>
  Tensor attention(Tensor x, Tensor h, std::int64_t index, const Where& where) {
    const StoredLayer& layer = model_.layer(index);
    const auto own = block(layer.attention, caches_.local(graph_, index, where));
    const bool widens = config_.l2a && config_.l2a->mode == L2aMode::widen;
    if (widens && config_.routes(index)) return routed(x, h, own, index);

    AttentionSpan span;
    if (config_.l2a) span = {config_.l2a->window, config_.l2a->sinks, {}};
    x = add(graph_, x, attend(h, own, span));
    if (!config_.routes(index)) return x;

    const auto global = block(layer.global_attention, caches_.global(graph_, index, where));
    return routed(x, norm(x, layer.global_norm), global, index);
  }

  Tensor narrowed(Tensor x, Tensor h, std::int64_t index) {
    const AttentionBlock own =
        block(model_.layer(index).attention, caches_.local(graph_, index, request_.sequences[0]));
    AttentionSpan span{request_.narrowing->window, request_.narrowing->sinks, {}};
    if (request_.narrowing->layer) {
      if (index != *request_.narrowing->layer) span = {};
      return add(graph_, x, self_attention(graph_, h, h, own, tokens_, span));
    }
    const AttentionPair pair = self_attention_pair(graph_, h, own, tokens_, span);
    result_.narrowed.push_back({x, h, pair.all, pair.narrow});
    for (const Tensor kept : {x, h, pair.all, pair.narrow}) graph_.output(kept);
    return add(graph_, x, pair.all);
  }

  template <class Block>
  Tensor routed(Tensor x, Tensor h, const Block& block, std::int64_t index) {
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
    const BatchL2aResult result = attend(x, h, block, router, options);
    keep_routes(result.rows, tally_.at(&model_.placement().layer(index)));
    return result.x;
  }

  // Counts and, where that is asked for, keeps the Rows of the next routed layer.
  void keep_routes(const std::vector<Rows>& of_layer, Tensor tally) {
    std::vector<Tensor> kept;
    for (std::size_t i = 0; i < of_layer.size(); ++i) {
      const Tensor rows{of_layer[i].id};
      graph_.name(rows, request_.batched() ? concat("rows.", routed_layers_, ".", i)
                                           : concat("rows.", routed_layers_));
      count_rows(graph_, tally, of_layer[i],
                 request_.sequences[i] * config_.l2a->routed_layers() + routed_layers_);
      if (!request_.routes) continue;
      graph_.output(rows);
      kept.push_back(rows);
    }
    if (request_.routes) result_.routes.push_back(std::move(kept));
    ++routed_layers_;
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
  BatchInputs batch_;
  std::map<const Backend*, Tensor> tally_;
  std::int64_t routed_layers_ = 0;
};

}  // namespace

DecoderGraph build_decoder(const Model& model, const KvCaches& caches, const RouteTally& tally,
                           const DecoderRequest& request) {
  return DecoderBuilder(model, caches, tally, request).build();
}

}  // namespace l2a
