// The decoder as a graph: embedding, layers (dense, L2A "add" or "widen"), final norm, output head.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "models/kv_cache.h"
#include "models/model.h"

namespace l2a {

enum class LogitsOf : std::uint8_t {
  none,  // only the caches are wanted: the last layer's MLP and the head are not run
  last,  // of the last token
  all,
};

// What every token would see of the keys if it were not routed.
struct Narrowing {
  std::int64_t window = 0, sinks = 0;  // W, S
  // This layer's attention goes on with that, and nothing is kept; -1: no layer's. Without it, every layer's goes on with
  // all keys.
  std::optional<std::int64_t> layer = {};
};

struct DecoderRequest {
  std::int64_t tokens = 1;  // T
  // Whose tokens they are, of the sequences that the caches have room for: one, at consecutive positions, or a batch of
  // as many sequences as there are tokens, each a token of its own, ascending.
  std::vector<std::int64_t> sequences = {0};
  LogitsOf logits = LogitsOf::last;
  bool routes = false;      // keep each routed layer's Rows readable
  bool everything = false;  // keep what every node computes readable
  // Tokens are routed by numbers that the caller gives (DecoderGraph::draws), whatever the routers say: from this cut on.
  std::optional<float> forced_cut;
  // In place of the cut that the model's own temperature and threshold say.
  std::optional<float> router_cut;
  // Keep what weights are multiplied with readable. All of it: the last layer's MLP then runs up to its last
  // product even where no logits are wanted.
  bool matmul_inputs = false;
  std::int64_t candidates = 0;  // of each row of logits; 0: none
  // Every token sees all keys, whatever the routers say, and what each layer's attention would have given with these is
  // kept readable beside; or one layer's attention alone is narrowed. Of a dense model, or a "widen" one without pruned
  // layers; not of a batch.
  std::optional<Narrowing> narrowing;

  bool batched() const { return sequences.size() > 1; }
};

// The left side of the products with one or more weights.
struct MatmulInput {
  Tensor values;                     // f32 [T, K]
  Tensor rows;                       // the Rows that bound it, when it is compact
  std::vector<std::string> weights;  // their names
};

// What narrowing a layer's attention would change: all f32 [T, E].
struct NarrowedLayer {
  Tensor x;       // what the attention is added to
  Tensor h;       // x normalized: what a "widen" router reads
  Tensor all;     // the attention over all keys, projected
  Tensor narrow;  // the same over the window and the sinks
};

// What layer N hands on is named "layer.N" in the graph, its Rows "rows.I" for the I-th layer that routes, "rows.I.T" for
// token T of a batch.
struct DecoderGraph {
  std::shared_ptr<const Graph> graph;
  Tensor tokens, positions;  // inputs, i32 [T]
  CachePlaces places;        // of a batch: inputs, i32 [T]
  Tensor logits;             // f32 [1, V] or [T, V]; empty for LogitsOf::none
  Tensor most_likely;        // i32 [1] or [T]: the argmax of each row of logits
  Tensor candidates;         // f32 [1 or T, candidates, 2]: their top_k, when asked for
  // For each routed layer, when asked for: its Rows, i32 [1 + T], or of a batch a Rows i32 [2] for each token.
  std::vector<std::vector<Tensor>> routes;
  std::vector<MatmulInput> matmul_inputs;  // when asked for; distinct
  std::vector<NarrowedLayer> narrowed;     // by layer, when asked for
  // Of a forced cut, which has an input f32 [routed layers * T, 1] to be routed by and its weight f32 [1, 1].
  Tensor draws, draw_weight;
};

// Counters of the tokens that each routed layer has routed so far: i32 [sequences * routed layers], a sequence's layers
// together, on each backend that has such a layer, which counts in its own.
using RouteTally = std::map<const Backend*, std::shared_ptr<Buffer>>;

DecoderGraph build_decoder(const Model& model, const KvCaches& caches, const RouteTally& tally,
                           const DecoderRequest& request);

}  // namespace l2a
