// Text out of a session: feeds a prompt, samples tokens, hands over text as it becomes whole characters.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "examples/common/figures.h"
#include "models/sampler.h"
#include "models/session.h"
#include "models/tokenizer.h"

namespace l2a {

enum class StopReason : std::uint8_t {
  end,          // the model ended its turn
  length,       // as many tokens as were asked for
  context,      // the context is full
  interrupted,  // the user stopped it
};
const char* stop_reason_name(StopReason reason);

struct GenerationHooks {
  std::function<void(std::int64_t done, std::int64_t total)>
      prefilled;  // after each chunk of the prompt
  std::function<void(const std::string&)> text;
  std::function<bool()> interrupted;
  // After each step, in order: its tokens, and for each routed layer those that it routed, from 0 at the step's first; none
  // of a session that does not keep routes. A token is run after its text was handed over, the last one of an answer never.
  std::function<void(std::span<const Token>, std::span<const std::vector<std::int32_t>>)> ran;
};

struct Generation {
  std::string text;
  std::vector<Token> tokens;  // with the one that ended it, if any
  StopReason reason = StopReason::end;
};

class Generator {
 public:
  Generator(Session& session, const Tokenizer& tokenizer, const SamplerOptions& options)
      : session_(session), tokenizer_(tokenizer), sampler_(options) {}

  // Throws Error when the prompt is empty or longer than the context.
  void require_fit(std::span<const Token> prompt) const;

  // Answers `prompt` with at most `most` tokens. What the session already holds of the prompt is not run again; if
  // it holds something else, it is reset. The prompt must fit.
  Generation answer(std::span<const Token> prompt, std::int64_t most, const GenerationHooks& hooks);

  // Of every token that went through the session for this, also those it has forgotten since.
  RoutingStats routing() const;
  // Whether the figures tell where the time went, by kind of op.
  void time_ops(bool wanted) { time_ops_ = wanted; }

  // Of the last answer, and the session's caches and routing so far. The caller adds what it knows of the model.
  Figures figures() const;

 private:
  // From what the session's candidates tell, where they are enough.
  Token sample(const Evaluation& evaluation);

  Session& session_;
  const Tokenizer& tokenizer_;
  Sampler sampler_;
  std::vector<Token> held_;  // tokens in the session's caches
  Figures timing_;
  RoutingStats forgotten_;
  bool time_ops_ = false;
};

}  // namespace l2a
