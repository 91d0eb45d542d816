// A conversation with a model: one sequence, in chunks of a prompt and token by token. It is a pool of one (sequence_pool.h);
// who serves several at once takes a pool of more.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "models/sequence_pool.h"

namespace l2a {

class Session {
 public:
  // `fallbacks`: backends that take what the model's own does not support, in order.
  Session(std::shared_ptr<const Model> model, std::shared_ptr<Backend> backend,
          std::vector<std::shared_ptr<Backend>> fallbacks, const SessionOptions& options)
      : pool_(std::move(model), std::move(backend), std::move(fallbacks), options, 1) {}

  const Model& model() const { return pool_.model(); }
  const Backend& backend() const { return pool_.backend(); }
  std::int64_t context() const { return pool_.context(); }
  std::int64_t position() const { return pool_.position(0); }      // tokens in the caches
  CacheBytes cache_bytes() const { return pool_.cache_bytes(0); }  // that those take
  std::size_t arena_bytes() const { return pool_.arena_bytes(); }  // of the plans kept

  // Throws Error unless `count` more tokens fit the context.
  void require_room(std::int64_t count) const { pool_.require_room(0, count); }

  // One step of any number of tokens, at the current position. Throws Error when an id is outside the vocabulary
  // or the context is full; the caches are then as before.
  Evaluation step(std::span<const Token> tokens, LogitsOf logits) {
    return pool_.run(0, tokens, logits);
  }

  // All tokens, in chunks; the result is of the last one. `progress` is told how many are done, after each chunk;
  // when it returns false the prefill stops there and the result is empty. Throws as step does, before the first chunk.
  Evaluation prefill(std::span<const Token> tokens,
                     const std::function<bool(std::int64_t)>& progress = {}) {
    return pool_.prefill(0, tokens, progress);
  }

  Evaluation decode(Token token) { return step({&token, 1}, LogitsOf::last); }

  RoutingStats routing() const { return pool_.routing(0); }

  // From now on every step adds its time by kind of op to `times`, which must live as long; null ends it. Steps that
  // are timed are a little slower.
  void time_ops(OpTimes* times) { pool_.time_ops(times); }

  // Forgets every token.
  void reset() { pool_.reset(0); }

  // As if `position` tokens had been run, but nobody knows which: the caches then hold them as small pseudo-random
  // numbers. For measuring speed at a depth without the time that it takes to get there. Throws Error beyond the context.
  void assume(std::int64_t position) { pool_.assume(0, position); }

  // Evaluation::routes of the last step, also of one in the middle of a prefill.
  std::span<const std::vector<std::int32_t>> routes() const { return pool_.routes(); }

  // The plan of a step, compiled if need be: for describing and drawing.
  const Plan& plan(std::int64_t tokens, LogitsOf logits) { return pool_.plan(0, tokens, logits); }

 private:
  SequencePool pool_;
};

}  // namespace l2a
