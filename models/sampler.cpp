#include "models/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/error.h"

namespace l2a {
namespace {

// `valid` is false for NaN too, since the comparisons that make it are.
void require(bool valid, const char* name, double value, const char* expected) {
  if (!valid) throw Error(concat("sampler option ", name, " is ", value, "; ", expected));
}

void check(const SamplerOptions& options) {
  require(options.temperature >= 0 && std::isfinite(options.temperature), "temperature",
          options.temperature, "a number from 0 was expected");
  require(options.top_k >= 0, "top_k", options.top_k, "0 (off) or more was expected");
  require(options.top_p > 0 && options.top_p <= 1, "top_p", options.top_p,
          "a number above 0, to 1 (off), was expected");
  require(options.min_p >= 0 && options.min_p <= 1, "min_p", options.min_p,
          "a number from 0 (off) to 1 was expected");
  require(options.repetition_penalty > 0 && std::isfinite(options.repetition_penalty),
          "repetition_penalty", options.repetition_penalty, "a number above 0 was expected");
  require(options.repetition_window >= 0, "repetition_window", options.repetition_window,
          "0 (off) or more was expected");
}

// The index of the largest logit, the first of equals.
std::size_t find_best(std::span<const float> logits) {
  if (logits.empty()) throw Error("sampling needs logits");
  std::size_t best = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float logit = logits[i];
    if (!(logit <= std::numeric_limits<float>::max())) {
      throw Error(
          concat("the logit of token ", i, " is ", logit, "; the model's output is broken"));
    }
    if (logit > logits[best]) best = i;
  }
  if (std::isinf(logits[best])) throw Error("every token is forbidden: all logits are -inf");
  return best;
}

}  // namespace

struct Sampler::IsBetter {
  bool operator()(const Candidate& a, const Candidate& b) const {
    return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
  }
};

Sampler::Sampler(const SamplerOptions& options) : options_(options), random_(options.seed) {
  check(options);
}

void Sampler::accept(Token token) {
  if (options_.repetition_window == 0) return;
  if (token < 0) throw Error(concat("token ", token, " is not a token"));
  window_.push_back(token);
  ++counts_[token];
  if (window_.size() > static_cast<std::size_t>(options_.repetition_window)) {
    const auto oldest = counts_.find(window_.front());
    if (--oldest->second == 0) counts_.erase(oldest);
    window_.pop_front();
  }
}

float Sampler::penalized(float logit) const {
  return logit > 0 ? logit / options_.repetition_penalty : logit * options_.repetition_penalty;
}

std::span<const float> Sampler::apply_penalty(std::span<const float> logits) {
  if (options_.repetition_penalty == 1 || counts_.empty()) return logits;
  penalized_.assign(logits.begin(), logits.end());
  for (const auto& [token, count] : counts_) {
    const auto i = static_cast<std::size_t>(token);
    if (i >= penalized_.size()) continue;
    penalized_[i] = penalized(penalized_[i]);
  }
  return penalized_;
}

void Sampler::keep_top_k(std::span<const float> logits) {
  candidates_.clear();
  const auto k = static_cast<std::size_t>(options_.top_k);
  if (k == 0 || k >= logits.size()) {
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (!std::isinf(logits[i])) candidates_.push_back({logits[i], static_cast<Token>(i)});
    }
    return;
  }
  // A heap of the best k so far, the worst of them on top: one comparison refuses nearly every
  // logit.
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const Candidate candidate{logits[i], static_cast<Token>(i)};
    if (std::isinf(candidate.logit)) continue;
    if (candidates_.size() < k) {
      candidates_.push_back(candidate);
      std::push_heap(candidates_.begin(), candidates_.end(), IsBetter{});
    } else if (IsBetter{}(candidate, candidates_.front())) {
      std::pop_heap(candidates_.begin(), candidates_.end(), IsBetter{});
      candidates_.back() = candidate;
      std::push_heap(candidates_.begin(), candidates_.end(), IsBetter{});
    }
  }
  std::sort_heap(candidates_.begin(), candidates_.end(), IsBetter{});
}

void Sampler::keep_top_p(float best) {
  if (options_.top_p == 1) return;
  const auto weight = [best](const Candidate& c) { return std::exp(double{c.logit} - best); };
  double total = 0;
  for (const Candidate& candidate : candidates_) total += weight(candidate);
  const double wanted = total * double{options_.top_p};

  // Halves the range that holds the last candidate to keep: linear, however many are kept, where
  // sorting a flat distribution over a large vocabulary takes longer than a small model's whole
  // step.
  selected_ = candidates_;
  auto begin = selected_.begin(), end = selected_.end();
  double sum = 0;  // of the weights before `begin`
  while (end - begin > 1) {
    const auto middle = begin + (end - begin) / 2;
    std::nth_element(begin, middle, end, IsBetter{});
    double half = 0;
    for (auto at = begin; at != middle; ++at) half += weight(*at);
    if (sum + half >= wanted) {
      end = middle;
    } else {
      sum += half;
      begin = middle;
    }
  }
  std::erase_if(candidates_, [last = *begin](const Candidate& c) { return IsBetter{}(last, c); });
}

void Sampler::keep_min_p(float best) {
  if (options_.min_p == 0) return;
  const double least = double{best} + std::log(double{options_.min_p});
  std::erase_if(candidates_, [least](const Candidate& c) { return c.logit < least; });
}

Token Sampler::draw(float best) {
  const auto weight = [&](const Candidate& c) {
    return std::exp((double{c.logit} - best) / options_.temperature);
  };
  double total = 0;
  for (const Candidate& candidate : candidates_) total += weight(candidate);
  // 53 random bits make a double in [0, 1). std::uniform_real_distribution differs between
  // libraries.
  double left = static_cast<double>(random_() >> 11) * 0x1p-53 * total;
  Token chosen = candidates_.front().token;
  for (const Candidate& candidate : candidates_) {
    const double share = weight(candidate);
    if (share == 0) continue;
    chosen = candidate.token;  // also the last one, should rounding leave something over
    if (left < share) break;
    left -= share;
  }
  return chosen;
}

Token Sampler::sample(std::span<const float> raw_logits) {
  const std::span<const float> logits = apply_penalty(raw_logits);
  const std::size_t best_index = find_best(logits);
  if (options_.temperature == 0) return static_cast<Token>(best_index);
  keep_top_k(logits);
  return choose(logits[best_index]);
}

Token Sampler::choose(float best) {
  keep_top_p(best);
  keep_min_p(best);
  return draw(best);
}

std::int64_t Sampler::needed_candidates() const {
  const std::int64_t wanted = options_.temperature == 0 ? 1 : options_.top_k;
  if (wanted == 0 || options_.repetition_penalty == 1) return wanted;
  // Those that a penalty lowers may make room for as many others; one that raises may bring anyone.
  return options_.repetition_penalty > 1 ? wanted + options_.repetition_window : 0;
}

Token Sampler::sample(std::span<const Candidate> best) {
  if (best.empty()) throw Error("sampling needs candidates");
  if (!(best.front().logit <= std::numeric_limits<float>::max())) {
    throw Error(concat("the logit of token ", best.front().token, " is ", best.front().logit,
                       "; the model's output is broken"));
  }
  candidates_.assign(best.begin(), best.end());
  std::erase_if(candidates_, [](const Candidate& c) { return std::isinf(c.logit); });
  if (candidates_.empty()) throw Error("every token is forbidden: all logits are -inf");
  if (options_.repetition_penalty != 1) {
    for (Candidate& candidate : candidates_) {
      if (counts_.contains(candidate.token)) candidate.logit = penalized(candidate.logit);
    }
    std::sort(candidates_.begin(), candidates_.end(), IsBetter{});
  }
  if (options_.temperature == 0) return candidates_.front().token;
  const auto k = static_cast<std::size_t>(options_.top_k);
  if (k > 0 && k < candidates_.size()) candidates_.resize(k);
  return choose(candidates_.front().logit);
}

}  // namespace l2a
