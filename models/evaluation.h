// What a step computed, read back when it is asked for.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "graph/plan.h"
#include "models/candidate.h"
#include "models/decoder.h"
#include "models/tokenizer.h"

namespace l2a {

// The last step of a session or a pool, and what was read of it so far.
struct StepResults {
  const Plan* plan = nullptr;
  const DecoderGraph* decoder = nullptr;
  std::vector<float> logits;  // empty until somebody asks for them
  std::vector<Token> most_likely;
  std::vector<Candidate> candidates;
  std::vector<std::vector<std::int32_t>> routes;

  // Of a step that just ran; reads its routes, where they are kept.
  void begin(const Plan& of, const DecoderGraph& graph);
};

// What one step computed, read from where it was computed when it is asked for: who only wants the next token waits
// for that alone. Valid until the next step or plan of its session or pool. Empty when the step had no logits, or never ran.
class Evaluation {
 public:
  Evaluation() = default;
  Evaluation(StepResults& results, std::size_t rows)
      : routes(results.routes), results_(&results), rows_(rows) {}

  std::span<const float> logits() const;       // [rows, V]
  std::span<const Token> most_likely() const;  // [rows]
  // [rows, SessionOptions::candidates]: of each row those with the largest logits, the largest first, the lowest token
  // first of equals; NaN before everything. No more than the vocabulary has.
  std::span<const Candidate> candidates() const;
  bool empty() const { return rows_ == 0; }
  // For each routed layer the tokens of this step that it routed, ascending, from 0 at the step's first.
  std::span<const std::vector<std::int32_t>> routes;

 private:
  StepResults* results_ = nullptr;
  std::size_t rows_ = 0;
};

}  // namespace l2a
