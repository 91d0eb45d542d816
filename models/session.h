// A conversation with a model: its caches, and the plans that fill them. One token at a time in decode, in chunks
// in prefill; a plan is compiled for each number of tokens once and replayed.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "graph/op_times.h"
#include "graph/plan.h"
#include "models/candidate.h"
#include "models/decoder.h"
#include "models/tokenizer.h"

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

class Session;

// What one step computed, read from where it was computed when it is asked for: who only wants the next token waits
// for that alone. Valid until the session's next step or plan. Empty when the step had no logits, or never ran.
class Evaluation {
 public:
  std::span<const float> logits() const;       // [rows, V]
  std::span<const Token> most_likely() const;  // [rows]
  // [rows, SessionOptions::candidates]: of each row those with the largest logits, the largest first, the lowest token
  // first of equals; NaN before everything. No more than the vocabulary has.
  std::span<const Candidate> candidates() const;
  bool empty() const { return rows_ == 0; }
  // For each routed layer the tokens of this step that it routed, ascending, from 0 at the step's first.
  std::span<const std::vector<std::int32_t>> routes;

 private:
  friend Session;
  Session* session_ = nullptr;
  std::size_t rows_ = 0;
};

struct RoutingStats {
  std::int64_t tokens = 0;           // that went through the model
  std::vector<std::int64_t> routed;  // of those, by layer; -1 for a layer without a router
  double share() const;              // over all layers with a router; 0 without one
  bool has_router() const;           // in any layer
  // Adds another run of the same model.
  RoutingStats& operator+=(const RoutingStats& other);
  // What an earlier count of the same run, empty or not, does not have of a later one.
  static RoutingStats between(const RoutingStats& earlier, RoutingStats later);
};

class Session {
 public:
  // `fallbacks`: backends that take what the model's own does not support, in order.
  Session(std::shared_ptr<const Model> model, std::shared_ptr<Backend> backend,
          std::vector<std::shared_ptr<Backend>> fallbacks, const SessionOptions& options);

  const Model& model() const { return *model_; }
  const Backend& backend() const { return *backends_.front(); }
  std::int64_t context() const { return caches_.context(); }
  std::int64_t position() const { return position_; }  // tokens in the caches
  CacheBytes cache_bytes() const;                      // that those take
  std::size_t arena_bytes() const;                     // of the plans compiled so far

  // Throws Error unless `count` more tokens fit the context.
  void require_room(std::int64_t count) const;

  // One step of any number of tokens, at the current position. Throws Error when an id is outside the vocabulary
  // or the context is full; the caches are then as before.
  Evaluation step(std::span<const Token> tokens, LogitsOf logits);

  // All tokens, in chunks; the result is of the last one. `progress` is told how many are done, after each chunk;
  // when it returns false the prefill stops there and the result is empty. Throws as step does, before the first chunk.
  Evaluation prefill(std::span<const Token> tokens,
                     const std::function<bool(std::int64_t)>& progress = {});

  Evaluation decode(Token token) { return step({&token, 1}, LogitsOf::last); }

  RoutingStats routing() const;

  // From now on every step adds its time by kind of op to `times`, which must live as long; null ends it. Steps that
  // are timed are a little slower.
  void time_ops(OpTimes* times) { op_times_ = times; }

  // Forgets every token.
  void reset();

  // As if `position` tokens had been run, but nobody knows which: the caches then hold them as small pseudo-random
  // numbers. For measuring speed at a depth without the time that it takes to get there. Throws Error beyond the context.
  void assume(std::int64_t position);

  // Evaluation::routes of the last step, also of one in the middle of a prefill.
  std::span<const std::vector<std::int32_t>> routes() const { return routes_; }

  // The plan of a step, compiled if need be: for describing and drawing.
  const Plan& plan(std::int64_t tokens, LogitsOf logits) { return compiled(tokens, logits).plan; }

 private:
  // Throws Error unless there are tokens and all are in the vocabulary.
  void require_known(std::span<const Token> tokens) const;

  struct Compiled {
    DecoderRequest request;
    DecoderGraph decoder;
    Plan plan;
  };
  Compiled& compiled(std::int64_t tokens, LogitsOf logits);
  friend Evaluation;
  void show_matmul_inputs(const Compiled& entry);
  void show_narrowed(const Compiled& entry);
  void run_timed(Plan& plan, std::int64_t tokens);
  void write_draws(Compiled& entry);

  std::shared_ptr<const Model> model_;
  std::vector<std::shared_ptr<Backend>> backends_;
  SessionOptions options_;
  KvCaches caches_;
  RouteTally tally_;
  std::vector<std::unique_ptr<Compiled>> compiled_;
  std::int64_t position_ = 0;
  std::int64_t assumed_ = 0;  // of those, tokens that never ran
  std::int64_t filled_ = 0;   // positions that caches have held at any time
  OpTimes* op_times_ = nullptr;
  std::vector<std::int32_t> positions_;
  std::vector<float> draws_;
  const Compiled* last_run_ = nullptr;
  std::vector<float> logits_;       // of the last step; empty until somebody asks for them
  std::vector<Token> most_likely_;  // the same
  std::vector<Candidate> candidates_;
  std::vector<std::vector<std::int32_t>> routes_;
  std::vector<float> operand_;
  std::array<std::vector<float>, 4> narrowed_;
};

}  // namespace l2a
