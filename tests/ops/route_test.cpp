#include "ops/route.h"

#include <doctest/doctest.h>

#include <limits>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

TEST_CASE("route lists the tokens whose logit reaches the cut, ascending, equality included") {
  on_each_backend([](OpRun& run) {
    // Logits 2x - y: 3, 1, 0.5, -7, 1
    const Tensor x = run.floats({5, 2}, {2, 1, 1, 1, 0.5f, 0.5f, -3, 1, 0, -1});
    check_values(run.result(route(run.graph, x, run.floats({1, 2}, {2, -1}), {}, 1)), {3, 0, 1, 4});
  });
}

TEST_CASE("route sends what is equal to the cut and nothing that is one step below it") {
  const float below = std::nextafter(0.25f, 0.0f);
  on_each_backend([&](OpRun& run) {
    const Tensor x = run.floats({2, 1}, {below, 0.25f});
    check_values(run.result(route(run.graph, x, run.floats({1, 1}, {1}), {}, 0.25f)), {1, 1});
  });
  on_each_backend([](OpRun& run) {  // no weight at all: the logit 0 meets the cut of threshold 1/2
    const Tensor x = run.floats({2, 1}, {-3, 5});
    check_values(run.result(route(run.graph, x, run.floats({1, 1}, {0}), {}, router_cut(0.7, 0.5))),
                 {2, 0, 1});
  });
}

TEST_CASE("route adds the bias to every logit") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({3, 1}, {0, 1, 2}), weight = run.floats({1, 1}, {1});
    check_values(run.result(route(run.graph, x, weight, run.floats({1}, {-1.5f}), 0)), {1, 2});
  });
}

TEST_CASE("route never sends a token whose logit is NaN") {
  const float infinity = std::numeric_limits<float>::infinity();
  on_each_backend([&](OpRun& run) {
    // The last is infinity - infinity.
    const Tensor x = run.floats({5, 2}, {NAN, 1, infinity, 1, 1, 1, -infinity, 1,  //
                                         infinity, infinity});
    const Tensor weight = run.floats({1, 2}, {1, -1});
    check_values(run.result(route(run.graph, x, weight, {}, -infinity)), {3, 1, 2, 3});
  });
}

TEST_CASE("route can send no token, and every one of many") {
  constexpr std::int64_t kMany = 5000;
  for (const float cut : {-1.0f, 1.0f}) {
    CAPTURE(cut);
    on_each_backend([&](OpRun& run) {
      const Tensor x = run.floats({kMany, 1}, std::vector<float>(kMany, 0.0f));
      Values expected = {0};
      for (double t = 0; cut < 0 && t < kMany; ++t) expected.push_back(t);
      expected[0] = cut < 0 ? kMany : 0;
      check_values(run.result(route(run.graph, x, run.floats({1, 1}, {1}), {}, cut)), expected);
    });
  }
}

TEST_CASE("the router's cut is temperature * ln(threshold / (1 - threshold))") {
  CHECK(router_cut(0.1, 0.5) == 0.0f);
  CHECK(router_cut(12, 0.5) == 0.0f);
  CHECK(router_cut(1, 0.97) == doctest::Approx(3.4760987).epsilon(1e-7));  // ln(97/3)
  CHECK(router_cut(0.1, 0.97) == doctest::Approx(0.34760987).epsilon(1e-7));
  CHECK(router_cut(1, 0.03) == doctest::Approx(-3.4760987).epsilon(1e-7));
}

TEST_CASE("the router's cut refuses temperatures and thresholds without one") {
  for (const double temperature : {0.0, -1.0, double{NAN}, double{INFINITY}}) {
    CAPTURE(temperature);
    CHECK_THROWS_AS(router_cut(temperature, 0.5), Error);
  }
  for (const double threshold : {0.0, 1.0, -0.5, 1.5, double{NAN}}) {
    CAPTURE(threshold);
    CHECK_THROWS_AS(router_cut(1, threshold), Error);
  }
}

TEST_CASE("route refuses inputs that cannot be") {
  check_refused("route", "the router's weight must be [1, 3]", [](OpRun& run) {
    route(run.graph, run.leaf({2, 3}), run.leaf({1, 4}), {}, 0);
  });
  check_refused("route", "the router's weight must be [1, 3]", [](OpRun& run) {
    route(run.graph, run.leaf({2, 3}), run.leaf({2, 3}), {}, 0);
  });
  check_refused("route", "the router's weight must be f32", [](OpRun& run) {
    route(run.graph, run.leaf({2, 3}), run.leaf({1, 3}, Dtype::bf16), {}, 0);
  });
  check_refused("route", "the router's bias must be f32 [1]", [](OpRun& run) {
    route(run.graph, run.leaf({2, 3}), run.leaf({1, 3}), run.leaf({3}), 0);
  });
  check_refused("route", "the input must have 2 extents", [](OpRun& run) {
    route(run.graph, run.leaf({3}), run.leaf({1, 3}), {}, 0);
  });
  check_refused("route", "the input must be full", [](OpRun& run) {
    const Tensor x = gather_rows(run.graph, run.leaf({2, 3}), run.rows(2, {1}));
    route(run.graph, x, run.leaf({1, 3}), {}, 0);
  });
}

}  // namespace
}  // namespace l2a::test
