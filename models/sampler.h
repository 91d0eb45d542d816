// Choosing the next token from logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <random>
#include <span>
#include <unordered_map>
#include <vector>

#include "models/candidate.h"

namespace l2a {

// The steps apply in this order, which is llama.cpp's: repetition penalty, top-k, top-p, min-p,
// temperature. Temperature comes last, so it changes how the candidates share the chances and not
// who they are.
struct SamplerOptions {
  float temperature = 0.8f;         // 0 always takes the largest logit
  int top_k = 40;                   // that many of the largest logits; 0: all
  float top_p = 0.95f;              // the fewest that together have this probability; 1: all
  float min_p = 0.05f;              // those at least this fraction as probable as the first; 0: all
  float repetition_penalty = 1.0f;  // divides a positive logit, multiplies a negative one; 1: off
  int repetition_window = 64;       // of the accepted tokens, how many of the last are penalised
  std::uint64_t seed = 0;
};

// The same options, logits and accepted tokens give the same tokens: the random numbers are the
// standard's mt19937_64 and every tie goes to the lower id.
class Sampler {
 public:
  // Throws Error naming the option that is out of range.
  explicit Sampler(const SamplerOptions& options);

  // A token for these logits. -inf forbids a token. Throws Error on NaN or +inf, or if all are
  // forbidden.
  Token sample(std::span<const float> logits);
  // The same from the candidates with the largest logits, the best first: at least needed_candidates() of them, or all.
  Token sample(std::span<const Candidate> best);

  // How many of the largest logits decide; 0: all of them do.
  std::int64_t needed_candidates() const;

  // Tells the repetition penalty about a token of the text, sampled or of the prompt.
  void accept(Token token);

 private:
  struct IsBetter;

  float penalized(float logit) const;
  std::span<const float> apply_penalty(std::span<const float> logits);
  Token choose(float best);
  // Each leaves the candidates that pass; `best` is the largest logit.
  void keep_top_k(std::span<const float> logits);
  void keep_top_p(float best);
  void keep_min_p(float best);
  Token draw(float best);

  SamplerOptions options_;
  std::mt19937_64 random_;
  std::deque<Token> window_;
  std::unordered_map<Token, int> counts_;  // of the tokens in the window
  std::vector<float> penalized_;
  std::vector<Candidate> candidates_;  // the best first after top-k, by id without it
  std::vector<Candidate> selected_;    // keep_top_p's scratch
};

}  // namespace l2a
