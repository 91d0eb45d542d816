// Several sequences of one model at a time, as a server needs them: each has a slot with caches of its own, and sequences
// come and go while others are under way. A prompt goes through the model alone, in chunks; then a step takes one token of
// each of any slots, whatever their lengths, and reads every weight once for all of them.
//
// Plans are compiled once and replayed: the last four of single sequences, and the last eight of batches, one for each set
// of slots that stepped together.
#pragma once

#include <array>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "graph/op_times.h"
#include "graph/plan.h"
#include "models/evaluation.h"
#include "models/routing_stats.h"
#include "models/session_options.h"

namespace l2a {

// The next token of the sequence in a slot.
struct SlotToken {
  std::int64_t slot = 0;
  Token token = 0;
};

class SequencePool {
 public:
  // `slots`, from 0, each with room for options.context positions. `fallbacks`: backends that take what the model's own
  // does not support, in order. Throws Error for what cannot be: no slots, an option out of its range, caches for which
  // there is no memory, narrowing of several slots.
  SequencePool(std::shared_ptr<const Model> model, std::shared_ptr<Backend> backend,
               std::vector<std::shared_ptr<Backend>> fallbacks, const SessionOptions& options,
               std::int64_t slots);

  const Model& model() const { return *model_; }
  const Backend& backend() const { return *backends_.front(); }
  std::int64_t slots() const { return caches_.sequences(); }
  std::int64_t context() const { return caches_.context(); }  // of each slot

  // What follows throws Error, which names the slot where there are several, when there is no such slot, when an id is
  // outside the vocabulary, and when the context is full. Every slot is then as it was before.

  std::int64_t position(std::int64_t slot) const;   // tokens in its caches
  CacheBytes cache_bytes(std::int64_t slot) const;  // that those take
  RoutingStats routing(std::int64_t slot) const;    // since it was reset
  void require_room(std::int64_t slot, std::int64_t count) const;

  // Any number of tokens of one sequence, at its position.
  Evaluation run(std::int64_t slot, std::span<const Token> tokens, LogitsOf logits);

  // All tokens of one sequence, in chunks; the result is of the last one. `progress` is told how many are done, after each
  // chunk; when it returns false the prefill stops there and the result is empty. Throws before the first chunk.
  Evaluation prefill(std::int64_t slot, std::span<const Token> tokens,
                     const std::function<bool(std::int64_t)>& progress = {});

  // One token of each of some sequences, in ascending order of their slots. Row i of the result is of entry i, as are the
  // indices in its routes.
  Evaluation step(std::span<const SlotToken> entries);

  // Evaluation::routes of what ran last, also of a chunk in the middle of a prefill.
  std::span<const std::vector<std::int32_t>> routes() const { return results_.routes; }

  // Forgets a slot's tokens: the next sequence begins there.
  void reset(std::int64_t slot);

  // As if `position` tokens had been run in a slot, but nobody knows which: its caches then hold them as small
  // pseudo-random numbers. For measuring speed at a depth without the time that it takes to get there.
  void assume(std::int64_t slot, std::int64_t position);

  // From now on everything that runs adds its time by kind of op to `times`, which must live as long; null ends it. What is
  // timed is a little slower.
  void time_ops(OpTimes* times) { op_times_ = times; }

  // The plan of a run, or of a step of these slots, compiled if need be: for describing and drawing.
  const Plan& plan(std::int64_t slot, std::int64_t tokens, LogitsOf logits);
  const Plan& plan(std::span<const std::int64_t> slots);
  std::size_t arena_bytes() const;  // of the plans kept

 private:
  struct Slot {
    std::int64_t position = 0;
    std::int64_t assumed = 0;  // of those, tokens that never ran
    std::int64_t filled = 0;   // positions that its caches have held at any time
  };
  struct Compiled {
    DecoderRequest request;
    DecoderGraph decoder;
    Plan plan;
  };
  using Plans = std::vector<std::unique_ptr<Compiled>>;  // the least recently used first

  Slot& at(std::int64_t slot) { return slots_[static_cast<std::size_t>(slot)]; }
  const Slot& checked(std::int64_t slot) const;
  std::string named(std::int64_t slot) const;  // begins a message
  void require_known(std::int64_t slot, std::span<const Token> tokens) const;
  void require_ascending(std::span<const std::int64_t> slots) const;
  Compiled& compiled(std::span<const std::int64_t> slots, std::int64_t tokens, LogitsOf logits);
  Compiled& stepping(std::span<const std::int64_t> slots);
  Evaluation run_compiled(Compiled& entry, std::span<const Token> tokens);
  void write_places(Compiled& entry);
  void write_draws(Compiled& entry);
  void run_timed(Compiled& entry);
  void show_matmul_inputs(const Compiled& entry);
  void show_narrowed(const Compiled& entry);

  std::shared_ptr<const Model> model_;
  std::vector<std::shared_ptr<Backend>> backends_;
  SessionOptions options_;
  KvCaches caches_;
  RouteTally tally_;
  std::vector<Slot> slots_;
  Plans of_one_, of_batches_;
  OpTimes* op_times_ = nullptr;
  StepResults results_;
  // What steps write and observers are shown, kept for their memory.
  std::vector<std::int64_t> batch_;
  std::vector<Token> tokens_;
  std::vector<std::int32_t> positions_, places_;
  std::vector<float> draws_, operand_;
  std::array<std::vector<float>, 4> narrowed_;
};

}  // namespace l2a
