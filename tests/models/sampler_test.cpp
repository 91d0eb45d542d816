#include "models/sampler.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <set>
#include <vector>

#include "graph/error.h"

namespace l2a {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Nothing switched on: sampling from the softmax itself.
SamplerOptions plain() {
  SamplerOptions options;
  options.temperature = 1;
  options.top_k = 0;
  options.top_p = 1;
  options.min_p = 0;
  options.seed = 42;
  return options;
}

std::vector<float> logits_of(const std::vector<double>& probabilities) {
  std::vector<float> logits;
  for (const double p : probabilities) logits.push_back(static_cast<float>(std::log(p)));
  return logits;
}

std::vector<int> count(const SamplerOptions& options, const std::vector<float>& logits, int draws) {
  Sampler sampler(options);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) ++counts.at(static_cast<std::size_t>(sampler.sample(logits)));
  return counts;
}

// Pearson's statistic, whose mean is the number of classes less one.
double chi_square(const std::vector<int>& counts, const std::vector<double>& probabilities) {
  double draws = 0, sum = 0;
  for (const int n : counts) draws += n;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double expected = probabilities[i] * draws;
    if (expected == 0) {
      CHECK(counts[i] == 0);
    } else {
      sum += (counts[i] - expected) * (counts[i] - expected) / expected;
    }
  }
  return sum;
}

const std::vector<double> kSkewed = {0.05, 0.4, 0.1, 0.25, 0.2};
constexpr double kRare =
    18.5;  // a chi-square of 4 degrees of freedom exceeds this once in a thousand

TEST_CASE("temperature 0 takes the largest logit, the first of equals") {
  SamplerOptions options;
  options.temperature = 0;
  Sampler sampler(options);
  CHECK(sampler.sample(std::vector<float>{1, 3, 2}) == 1);
  CHECK(sampler.sample(std::vector<float>{-kInf, 3, 3}) == 1);
}

TEST_CASE("draws follow the softmax") {
  CHECK(chi_square(count(plain(), logits_of(kSkewed), 20000), kSkewed) < kRare);
}

TEST_CASE("temperature sharpens and flattens") {
  for (const float temperature : {0.5f, 2.0f}) {
    SamplerOptions options = plain();
    options.temperature = temperature;
    std::vector<double> expected;
    double total = 0;
    for (const double p : kSkewed) total += expected.emplace_back(std::pow(p, 1 / temperature));
    for (double& p : expected) p /= total;
    CHECK(chi_square(count(options, logits_of(kSkewed), 20000), expected) < kRare);
  }
}

TEST_CASE("a tiny temperature is greedy and does not overflow") {
  SamplerOptions options = plain();
  options.temperature = std::numeric_limits<float>::denorm_min();
  CHECK(count(options, {1, 1.0001f, -3e38f, 3e38f}, 10) == std::vector<int>{0, 0, 0, 10});
}

TEST_CASE("top-k, top-p and min-p keep the candidates they should") {
  SamplerOptions options = plain();
  std::vector<double> expected;
  SUBCASE("top-k") {
    options.top_k = 2;
    expected = {0, 0.4 / 0.65, 0, 0.25 / 0.65, 0};
  }
  SUBCASE("top-k beyond the vocabulary") {
    options.top_k = 1000;
    expected = kSkewed;
  }
  SUBCASE("top-p reaches into the candidate that crosses it") {
    options.top_p = 0.7f;
    expected = {0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85};
  }
  SUBCASE("top-p counts what top-k left") {
    options.top_k = 2;
    options.top_p = 0.6f;  // 0.4 of 0.65 is enough
    expected = {0, 1, 0, 0, 0};
  }
  SUBCASE("min-p") {
    options.min_p = 0.3f;
    expected = {0, 0.4 / 0.85, 0, 0.25 / 0.85, 0.2 / 0.85};
  }
  SUBCASE("min-p of 1 leaves the best") {
    options.min_p = 1;
    expected = {0, 1, 0, 0, 0};
  }
  SUBCASE("temperature does not change who they are") {
    options.top_p = 0.3f;
    options.temperature = 100;
    expected = {0, 1, 0, 0, 0};
  }
  CHECK(chi_square(count(options, logits_of(kSkewed), 20000), expected) < kRare);
}

TEST_CASE("of equal logits top-k keeps the lower ids") {
  SamplerOptions options = plain();
  options.top_k = 2;
  const auto counts = count(options, std::vector<float>(5, 1.0f), 1000);
  CHECK(counts[0] + counts[1] == 1000);
  CHECK(counts[1] > 400);
}

TEST_CASE("top-p is right where it needs most of a large vocabulary") {
  SamplerOptions options = plain();
  options.top_p = 0.5f;
  Sampler sampler(options);
  const std::vector<float> flat(2000, 0.5f);
  std::set<Token> seen;
  for (int i = 0; i < 20000; ++i) seen.insert(sampler.sample(flat));
  CHECK(*seen.rbegin() == 999);
  CHECK(seen.size() > 990);
}

TEST_CASE("the repetition penalty") {
  SamplerOptions options;
  options.temperature = 0;
  options.repetition_penalty = 2;
  options.repetition_window = 2;
  Sampler sampler(options);
  const std::vector<float> logits{1.0f, 1.5f, -1.0f};
  CHECK(sampler.sample(logits) == 1);
  sampler.accept(1);
  sampler.accept(1);
  CHECK(sampler.sample(logits) == 0);  // 1.5 / 2, once however often it occurred
  sampler.accept(0);
  sampler.accept(100);                 // not in these logits
  CHECK(sampler.sample(logits) == 1);  // out of the window again
  SUBCASE("makes negative logits more negative") {
    const std::vector<float> negative{-1.0f, -1.5f};
    CHECK(sampler.sample(negative) == 1);
  }
  CHECK_THROWS_AS(sampler.accept(-1), Error);
}

TEST_CASE("a seed fixes the sequence") {
  const auto draw = [](std::uint64_t seed) {
    SamplerOptions options = plain();
    options.seed = seed;
    Sampler sampler(options);
    std::vector<Token> tokens;
    for (int i = 0; i < 12; ++i) tokens.push_back(sampler.sample(logits_of(kSkewed)));
    return tokens;
  };
  CHECK(draw(7) == draw(7));
  CHECK(draw(7) != draw(8));
  // The same everywhere: these come from another implementation of the generator.
  CHECK(draw(7) == std::vector<Token>{3, 4, 1, 4, 1, 1, 4, 4, 1, 3, 3, 3});
}

TEST_CASE("logits that cannot be sampled from") {
  Sampler sampler(plain());
  CHECK_THROWS_AS(sampler.sample(std::vector<float>{}), Error);
  CHECK_THROWS_AS(sampler.sample(std::vector<float>{0, kNan}), Error);
  CHECK_THROWS_AS(sampler.sample(std::vector<float>{kNan, 0}), Error);
  CHECK_THROWS_AS(sampler.sample(std::vector<float>{0, kInf}), Error);
  CHECK_THROWS_AS(sampler.sample(std::vector<float>{-kInf, -kInf}), Error);
  CHECK(sampler.sample(std::vector<float>{-kInf, -5, -kInf}) == 1);
}

TEST_CASE("candidates give the token that all logits give, whatever the options") {
  std::mt19937 random(7);
  std::vector<float> logits(500);
  for (float& logit : logits) logit = static_cast<float>(random() % 97) / 8 - 6;
  logits[17] = -kInf;
  for (const float temperature : {0.0f, 0.7f, 2.0f}) {
    for (const int top_k : {1, 5, 40}) {
      for (const float penalty : {1.0f, 1.3f}) {
        SamplerOptions options;
        options.temperature = temperature;
        options.top_k = top_k;
        options.repetition_penalty = penalty;
        options.repetition_window = 8;
        options.seed = 3;
        Sampler whole(options), few(options);
        const auto needed = static_cast<std::size_t>(few.needed_candidates());
        CHECK(needed ==
              (temperature == 0 ? 1u : static_cast<unsigned>(top_k)) + (penalty > 1 ? 8u : 0u));
        std::vector<Candidate> best;
        for (std::size_t i = 0; i < logits.size(); ++i)
          best.push_back({logits[i], static_cast<Token>(i)});
        std::stable_sort(best.begin(), best.end(),
                         [](const Candidate& a, const Candidate& b) { return a.logit > b.logit; });
        best.resize(needed);
        for (int i = 0; i < 30; ++i) {
          const Token token = few.sample(best);
          CHECK(token == whole.sample(logits));
          few.accept(token);
          whole.accept(token);
        }
      }
    }
  }
}

TEST_CASE("all logits are needed where any of them may come out first") {
  SamplerOptions options;
  options.top_k = 0;
  CHECK(Sampler(options).needed_candidates() == 0);
  options.top_k = 40;
  options.repetition_penalty = 0.5f;
  CHECK(Sampler(options).needed_candidates() == 0);
}

TEST_CASE("candidates that are broken or forbidden are an error") {
  Sampler sampler{SamplerOptions{}};
  CHECK_THROWS_AS(sampler.sample(std::vector<Candidate>{}), Error);
  CHECK_THROWS_AS(sampler.sample(std::vector<Candidate>{{kNan, 3}, {1, 2}}), Error);
  CHECK_THROWS_AS(sampler.sample(std::vector<Candidate>{{kInf, 3}, {1, 2}}), Error);
  CHECK_THROWS_AS(sampler.sample(std::vector<Candidate>{{-kInf, 3}, {-kInf, 5}}), Error);
}

TEST_CASE("options out of range are refused by name") {
  const auto refuses = [](auto member, auto value) {
    SamplerOptions options;
    options.*member = value;
    CHECK_THROWS_AS(Sampler{options}, Error);
  };
  refuses(&SamplerOptions::temperature, -0.1f);
  refuses(&SamplerOptions::temperature, kNan);
  refuses(&SamplerOptions::temperature, kInf);
  refuses(&SamplerOptions::top_k, -1);
  refuses(&SamplerOptions::top_p, 0.0f);
  refuses(&SamplerOptions::top_p, 1.1f);
  refuses(&SamplerOptions::top_p, kNan);
  refuses(&SamplerOptions::min_p, -0.1f);
  refuses(&SamplerOptions::min_p, 1.1f);
  refuses(&SamplerOptions::repetition_penalty, 0.0f);
  refuses(&SamplerOptions::repetition_window, -1);
}

}  // namespace
}  // namespace l2a
