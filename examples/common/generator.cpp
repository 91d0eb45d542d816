#include "examples/common/generator.h"

#include <algorithm>
#include <chrono>

#include "graph/error.h"

namespace l2a {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

const char* stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::end:
      return "end";
    case StopReason::length:
      return "length";
    case StopReason::context:
      return "context";
    case StopReason::interrupted:
      return "interrupted";
  }
  return "";
}

void Generator::require_fit(std::span<const Token> prompt) const {
  if (prompt.empty()) throw Error("the prompt is empty");
  if (static_cast<std::int64_t>(prompt.size()) > session_.context()) {
    throw Error(concat("the prompt has ", prompt.size(), " tokens and the context holds ",
                       session_.context(), ": raise it with --ctx"));
  }
}

Token Generator::sample(const Evaluation& evaluation) {
  const std::int64_t needed =
      std::min(sampler_.needed_candidates(), session_.model().config().vocabulary);
  const std::span<const Candidate> candidates = evaluation.candidates();
  if (needed > 0 && static_cast<std::int64_t>(candidates.size()) >= needed)
    return sampler_.sample(candidates);
  return sampler_.sample(evaluation.logits());
}

Generation Generator::answer(std::span<const Token> prompt, std::int64_t most,
                             const GenerationHooks& hooks) {
  require_fit(prompt);
  // At least the prompt's last token is run, for its logits.
  const auto common =
      std::mismatch(held_.begin(), held_.end(), prompt.begin(), prompt.end()).first - held_.begin();
  if (static_cast<std::size_t>(common) != held_.size() || held_.size() >= prompt.size()) {
    forgotten_ = routing();
    session_.reset();
    held_.clear();
  }
  const std::span<const Token> fresh = prompt.subspan(held_.size());

  timing_ = {};
  timing_.prompt_tokens = static_cast<std::int64_t>(fresh.size());
  const auto start = Clock::now();
  Generation result;
  hooks.prefilled(0, timing_.prompt_tokens);
  session_.time_ops(time_ops_ ? &timing_.prefill_ops : nullptr);
  const auto ran = [&](std::span<const Token> tokens) {
    if (hooks.ran) hooks.ran(tokens, session_.routes());
  };
  std::int64_t before = 0;
  const Evaluation prefilled = session_.prefill(fresh, [&](std::int64_t done) {
    ran(fresh.subspan(static_cast<std::size_t>(before), static_cast<std::size_t>(done - before)));
    before = done;
    hooks.prefilled(done, timing_.prompt_tokens);
    return !hooks.interrupted();
  });
  timing_.prompt_tokens = session_.position() - static_cast<std::int64_t>(held_.size());
  held_.assign(prompt.begin(), prompt.begin() + session_.position());
  timing_.prefill_seconds = seconds_since(start);
  if (prefilled.empty()) {
    result.reason = StopReason::interrupted;
    return result;
  }
  for (const Token token : fresh) sampler_.accept(token);

  StreamDecoder decoder(tokenizer_);
  auto emit = [&](const std::string& text) {
    if (text.empty()) return;
    result.text += text;
    hooks.text(text);
  };
  Token next = sample(prefilled);
  timing_.first_token_seconds = seconds_since(start);
  const auto decode_start = Clock::now();
  session_.time_ops(time_ops_ ? &timing_.decode_ops : nullptr);
  while (true) {
    result.tokens.push_back(next);
    sampler_.accept(next);
    if (tokenizer_.ends_generation(next)) break;
    emit(decoder.push(next));
    if (static_cast<std::int64_t>(result.tokens.size()) >= most) {
      result.reason = StopReason::length;
      break;
    }
    if (hooks.interrupted()) {
      result.reason = StopReason::interrupted;
      break;
    }
    if (session_.position() == session_.context()) {
      result.reason = StopReason::context;
      break;
    }
    const Evaluation step = session_.decode(next);
    held_.push_back(next);
    ran({&next, 1});
    next = sample(step);
  }
  emit(decoder.finish());
  timing_.decode_seconds = seconds_since(decode_start);
  timing_.generated_tokens = static_cast<std::int64_t>(result.tokens.size());
  return result;
}

RoutingStats Generator::routing() const {
  RoutingStats stats = forgotten_;
  return stats += session_.routing();
}

Figures Generator::figures() const {
  Figures figures = timing_;
  figures.cache = session_.cache_bytes();
  figures.arena_bytes = session_.arena_bytes();
  figures.routing = session_.routing();
  return figures;
}

}  // namespace l2a
