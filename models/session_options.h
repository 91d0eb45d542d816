// How a session, or the sequences of a pool, run a model.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>

#include "graph/dtype.h"
#include "models/decoder.h"

namespace l2a {

// What weights were multiplied with in one step: a span that is valid during the call.
struct MatmulOperand {
  std::span<const std::string> weights;  // names of the weights that share it
  std::int64_t columns = 0;
  std::span<const float> values;  // [rows, columns]; only rows that exist, of routed tokens alone
};

// What narrowing a layer's attention would have changed in one step: spans that are valid during the call, f32
// [tokens, hidden] each (models/decoder.h).
struct NarrowedAttention {
  std::int64_t layer = 0;
  std::int64_t first = 0;  // position of the first token
  std::int64_t hidden = 0;
  std::span<const float> x, h, all, narrow;
};

struct SessionOptions {
  std::int64_t context = 0;        // positions; 0: what the model was trained for
  std::int64_t chunk = 512;        // tokens of one prefill step
  Dtype cache_dtype = Dtype::f16;  // f32, f16, bf16 or q8_0
  bool keep_routes = false;        // Evaluation::routes
  std::int64_t candidates = 0;     // Evaluation::candidates of each row; 0: none
  // Called after each step for each distinct left side of the products with weights. It costs the memory of
  // all of them in a step.
  std::function<void(const MatmulOperand&)> observe_matmul;
  bool keep_everything =
      false;  // what every node computes can be read from the plan, for comparisons
  // Routes this share of tokens, pseudo-random but the same in every run, instead of those that the routers pick: for
  // measuring speed without trained routers. From 0 to 1.
  std::optional<double> forced_share;
  // Routes the tokens for which this says so, by the model's layer and the token's position.
  std::function<bool(std::int64_t layer, std::int64_t position)> forced_routes;
  // The routers' cut in place of the model's own.
  std::optional<float> router_cut;
  // Every token sees all keys, and after each step the function is called for each layer with what the window and sinks
  // would have given (DecoderRequest::narrowing); or, where it names a layer, that one's attention is narrowed and nothing is
  // shown. It costs the memory of four [tokens, hidden] a layer.
  std::optional<Narrowing> narrowing;
  std::function<void(const NarrowedAttention&)> observe_narrowed;
};

}  // namespace l2a
