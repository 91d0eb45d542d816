// What l2a-fit-router computes, against values by hand.
#include "examples/common/router_fit.h"

#include <doctest/doctest.h>

#include <cmath>

#include "examples/common/layer_effect.h"
#include "examples/common/router_quality.h"
#include "graph/error.h"
#include "tests/temporary_folder.h"

namespace l2a {
namespace {

using test::contains;
using test::message_of;
using test::TemporaryFolder;

// In [-1, 1), from a fixed sequence.
class Draws {
 public:
  float next() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return static_cast<float>(state_ >> 40) / static_cast<float>(1 << 23) - 1;
  }

 private:
  std::uint64_t state_ = 7;
};

struct Samples {
  std::vector<float> features, targets;
};

// Features of very different sizes around very different means, and what a known router makes of them.
Samples linear_samples(const LinearRouter& truth, std::size_t count) {
  Draws draws;
  Samples samples;
  const std::size_t width = truth.weights.size();
  for (std::size_t t = 0; t < count; ++t) {
    double target = static_cast<double>(truth.bias);
    for (std::size_t i = 0; i < width; ++i) {
      const float scale = std::pow(10.0f, static_cast<float>(i % 5) - 2);
      const float value = i == 3 ? 4.0f : scale * (draws.next() + static_cast<float>(i % 7));
      samples.features.push_back(value);
      target += static_cast<double>(value) * static_cast<double>(truth.weights[i]);
    }
    samples.targets.push_back(static_cast<float>(target));
  }
  return samples;
}

LinearRouter some_router(std::size_t width) {
  Draws draws;
  LinearRouter router;
  for (std::size_t i = 0; i < width; ++i) {
    const float scale = std::pow(10.0f, static_cast<float>(i % 5) - 2);
    router.weights.push_back(i == 3 ? 0 : draws.next() / scale);
  }
  router.bias = -1.5f;
  return router;
}

TEST_CASE(
    "least squares find the linear function that the targets are, whatever the features' sizes") {
  for (const std::size_t width :
       {5U, 64U, 65U, 150U}) {  // below, at and past a block of the matrix
    CAPTURE(width);
    const LinearRouter truth = some_router(width);
    const Samples samples = linear_samples(truth, 900);
    ThreadPool pool(2);
    RouterStatistics statistics(static_cast<std::int64_t>(width));
    for (std::size_t begin = 0; begin < 900; begin += 250) {
      const std::size_t count = std::min<std::size_t>(250, 900 - begin);
      statistics.add(pool, std::span(samples.features).subspan(begin * width, count * width),
                     std::span(samples.targets).subspan(begin, count));
    }
    CHECK(statistics.count() == 900);
    const std::vector<float> logits = router_logits(statistics.fit(1e-9), samples.features);
    double worst = 0;
    for (std::size_t t = 0; t < logits.size(); ++t)
      worst = std::max(worst, std::fabs(static_cast<double>(logits[t] - samples.targets[t])));
    CHECK(worst < 5e-3);
    // A heavy ridge leaves the mean.
    const std::vector<float> means = router_logits(statistics.fit(1e6), samples.features);
    double mean = 0;
    for (const float target : samples.targets) mean += static_cast<double>(target) / 900;
    CHECK(static_cast<double>(means[7]) == doctest::Approx(mean).epsilon(1e-3));
  }
  CHECK(contains(message_of<Error>([] { RouterStatistics(4).fit(0.1); }), "at least two tokens"));
}

TEST_CASE("the state of a fit comes back as it was, and another fit's is refused") {
  const TemporaryFolder folder;
  const auto path = folder / "state";
  const Samples samples = linear_samples(some_router(70), 200);
  ThreadPool pool(1);
  std::vector<RouterStatistics> layers(2, RouterStatistics(70));
  for (RouterStatistics& layer : layers) layer.add(pool, samples.features, samples.targets);
  const std::vector<std::int64_t> settings = {16, 4};
  const std::vector<Token> tokens = {3, 1, 2};
  const NeedScale scale{{0.5, -1}, 0.25};
  FitState::save(path, settings, tokens, 5, scale, layers);

  std::vector<RouterStatistics> loaded(2, RouterStatistics(70));
  NeedScale restored;
  CHECK(FitState::load(path, settings, tokens, restored, loaded) == 5);
  CHECK(restored.log_scales == scale.log_scales);
  CHECK(restored.least == scale.least);
  CHECK(loaded[1].count() == 200);
  CHECK(loaded[1].fit(0.01).weights == layers[1].fit(0.01).weights);
  CHECK(loaded[1].fit(0.01).bias == layers[1].fit(0.01).bias);

  const auto refused = [&](std::vector<std::int64_t> set, std::vector<Token> text,
                           std::size_t count, std::int64_t width) {
    std::vector<RouterStatistics> into(count, RouterStatistics(width));
    return message_of<FileError>([&] {
      NeedScale unused;
      FitState::load(path, set, text, unused, into);
    });
  };
  CHECK(contains(refused({17, 4}, tokens, 2, 70), "other settings"));
  CHECK(contains(refused(settings, {3, 1}, 2, 70), "another text"));
  CHECK(contains(refused(settings, {3, 1, 4}, 2, 70), "another text"));
  CHECK(contains(refused(settings, tokens, 3, 70), "'scales'"));
  CHECK(contains(refused(settings, tokens, 2, 71), "'0.shift'"));
}

TEST_CASE("the need of a token is what its long read changes, of what it is added to") {
  const std::vector<float> x = {3, 4, 0, 0, 1, 0}, h = {1, 1, 1, 1, 1, 1};
  std::vector<float> all = {1, 1, 5, 5, 0, 2}, narrow = {1, 2, 5, 1, 0, 2};
  const NarrowedAttention step{3, 10, 2, x, h, all, narrow};
  CHECK(attention_need(step) ==
        std::vector<float>{0.2f, 0, 0});  // 1 / 5; nothing to be relative to
  all[4] = std::nanf("");
  CHECK(contains(message_of<Error>([&] { attention_need(step); }),
                 "layer 3 gives numbers that are not finite at token 12"));
}

TEST_CASE("scales make what a need does to the predictions the same in all layers") {
  // The second layer's needs do four times as much as their squares say, so they count double.
  std::vector<LayerEffect> effects(3);
  effects[0] = {0.011, {0.1f, 0.1f, 0.1f}};
  effects[1] = {0.041, {0.1f, 0.1f, 0.1f}};
  effects[2] = {0.001, {0.1f, 0.1f, 0.1f}};  // what rounding does
  const NeedScale scale = need_scale(effects, 0.5);
  REQUIRE(scale.log_scales.size() == 3);
  CHECK(std::exp(scale.log_scales[1] - scale.log_scales[0]) == doctest::Approx(2).epsilon(0.1));
  CHECK(scale.log_scales[2] < scale.log_scales[0] - 1);
  CHECK(std::isfinite(scale.log_scales[2]));
  CHECK(scale.effect(1, 0.1f) == doctest::Approx(0.04).epsilon(0.1));
  CHECK(scale.least == doctest::Approx(scale.scaled(0, 0.1f)));  // the middle of the three
  CHECK(scale.target(0, 0.1f) == doctest::Approx(std::log(2 * scale.least)));
  CHECK(scale.target(0, 0.2f) > scale.target(0, 0.1f));
  // Nothing that narrowing changes is no reason for a scale, nor for a number that is none.
  const NeedScale nothing = need_scale(std::vector<LayerEffect>(2, {0, {0, 0}}), 1);
  CHECK(nothing.log_scales == std::vector<double>{0, 0});
  CHECK(std::isfinite(nothing.target(0, 0)));
}

TEST_CASE("the area under the curve is the chance that a needy token's logit is the larger") {
  const RoutedNeed layer{{5, 1, 4, 0, 3, 2}, {0.5f, 0.5f, -1, -2, 2, 0.5f}};
  double won = 0, pairs = 0;
  for (std::size_t i = 0; i < 6; ++i) {
    for (std::size_t j = 0; j < 6; ++j) {
      if (!(layer.need[i] >= 3 && layer.need[j] < 3)) continue;
      pairs += 1;
      won += layer.logit[i] > layer.logit[j] ? 1 : layer.logit[i] == layer.logit[j] ? 0.5 : 0;
    }
  }
  CHECK(area_under_curve(layer, 3) == doctest::Approx(won / pairs));
  CHECK(std::isnan(area_under_curve(layer, 6)));
  CHECK(std::isnan(area_under_curve(layer, 0)));
}

TEST_CASE("one cut routes a share of all layers' tokens, and captures no more than the oracle") {
  const std::vector<RoutedNeed> layers = {{{4, 0, 1, 3}, {9, 8, 1, 2}},
                                          {{0, 2, 0, 0}, {0, 3, 4, 5}}};
  const RoutingQuality quality = routing_quality(layers, 0.5);
  CHECK(quality.cut == 4);  // 9, 8, 5 and 4 route
  CHECK(quality.captured == doctest::Approx(0.4));
  CHECK(quality.oracle == doctest::Approx(1));
  CHECK(quality.layers[0].routed == doctest::Approx(0.5));
  CHECK(quality.layers[0].need == doctest::Approx(0.8));
  CHECK(quality.layers[0].captured == doctest::Approx(0.5));
  CHECK(quality.layers[1].captured == 0);
  CHECK(routing_quality(layers, 0).captured == doctest::Approx(1));
  CHECK(routing_quality(layers, 1).captured == 0);
  CHECK(quantile({3, 1, 2, 4}, 0.5) == 3);
  CHECK(std::isinf(quantile({3, 1}, 1)));
  CHECK(contains(need_plot(layers), "tokens routed"));
}

}  // namespace
}  // namespace l2a
