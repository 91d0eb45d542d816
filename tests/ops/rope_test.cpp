#include "ops/rope.h"

#include <doctest/doctest.h>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

RopeScaling yarn(double factor, double original_context) {
  RopeScaling scaling;
  scaling.kind = RopeScaling::Kind::yarn;
  scaling.factor = factor;
  scaling.original_context = original_context;
  return scaling;
}

void check_frequencies(const RopeFrequencies& frequencies, const Values& inverse, double factor) {
  check_values({frequencies.inverse.begin(), frequencies.inverse.end()}, inverse, 1e-7);
  CHECK(frequencies.table_factor == doctest::Approx(factor).epsilon(1e-6));
}

TEST_CASE("frequencies fall by base^(-2/D) from pair to pair") {
  check_frequencies(rope_frequencies(4, 1e4, {}), {1, 0.01}, 1);
  check_frequencies(rope_frequencies(8, 1e4, {}), {1, 0.1, 0.01, 0.001}, 1);
}

TEST_CASE("linear scaling slows every frequency by the factor") {
  RopeScaling scaling;
  scaling.kind = RopeScaling::Kind::linear;
  scaling.factor = 4;
  check_frequencies(rope_frequencies(4, 1e4, scaling), {0.25, 0.0025}, 1);
}

TEST_CASE("YaRN keeps fast pairs, slows slow ones by the factor and blends between") {
  // Of 1024 trained positions pair i turns 1024 * 10000^(-i/4) / 2 pi times. Written as a pair,
  // 32 turns are at 8 ln(1024 / 64 pi) / (2 ln 10000) = 0.71, down to 0; 1 turn is at 2.21, up to
  // 3. So pair i is slowed by the share i/3: by 1, 1 - 3/4 * 1/3, 1 - 3/4 * 2/3 and 1/4. The table
  // grows by 0.1 ln 4 + 1.
  check_frequencies(rope_frequencies(8, 1e4, yarn(4, 1024)), {1, 0.075, 0.005, 0.00025},
                    1.13862944);
}

TEST_CASE("YaRN's bounds are settings") {
  // 5 turns are at 8 ln(1024 / 10 pi) / (2 ln 10000) = 1.51, down to 1; 1/10 of one is at 3.21, up
  // to 4. The share is 0, 0, 1/3 and 2/3.
  RopeScaling scaling = yarn(4, 1024);
  scaling.beta_fast = 5;
  scaling.beta_slow = 0.1;
  check_frequencies(rope_frequencies(8, 1e4, scaling), {1, 0.1, 0.0075, 0.0005}, 1.13862944);
}

TEST_CASE("YaRN's factor on the table can be given, and is 1 where nothing is extended") {
  RopeScaling scaling = yarn(4, 1024);
  scaling.attention_factor = 1.25;
  CHECK(rope_frequencies(8, 1e4, scaling).table_factor == 1.25f);
  check_frequencies(rope_frequencies(8, 1e4, yarn(1, 1024)), {1, 0.1, 0.01, 0.001}, 1);
}

TEST_CASE("frequencies are refused where a setting is out of its range") {
  CHECK_THROWS_AS(rope_frequencies(7, 1e4, {}), Error);
  CHECK_THROWS_AS(rope_frequencies(0, 1e4, {}), Error);
  for (const double base : {1.0, 0.0, -10000.0, double{NAN}, double{INFINITY}}) {
    CAPTURE(base);
    CHECK_THROWS_AS(rope_frequencies(8, base, {}), Error);
  }
  for (const double factor : {0.5, 0.0, double{NAN}, double{INFINITY}}) {
    CAPTURE(factor);
    CHECK_THROWS_AS(rope_frequencies(8, 1e4, yarn(factor, 1024)), Error);
  }
  CHECK_THROWS_AS(rope_frequencies(8, 1e4, yarn(4, 0)), Error);
  RopeScaling scaling = yarn(4, 1024);
  scaling.beta_slow = 0;
  CHECK_THROWS_AS(rope_frequencies(8, 1e4, scaling), Error);
}

TEST_CASE("rope_table holds the cosine and sine of position times frequency, times the factor") {
  on_each_backend([](OpRun& run) {
    // Angles 0, 0; 1, 0.5; 4, 2.
    const Tensor table =
        rope_table(run.graph, run.indices({0, 2, 8}), run.floats({2}, {0.5f, 0.25f}), 2);
    check_values(run.result(table),
                 {2, 0, 2, 0,                                  //
                  1.0806046, 1.6829420, 1.7551651, 0.9588511,  //
                  -1.3072872, -1.5136050, -0.8322937, 1.8185949},
                 kRounding);
  });
}

TEST_CASE("rope_table's angles stay exact at the end of a long context") {
  // As a float, 131071 * 0.7 is off by 0.004 radians.
  const double angle = 131071.0 * static_cast<double>(0.7f);
  on_each_backend([&](OpRun& run) {
    const Tensor table = rope_table(run.graph, run.indices({131071}), run.floats({1}, {0.7f}), 1);
    check_values(run.result(table), {std::cos(angle), std::sin(angle)}, kRounding);
  });
}

// A quarter turn for the first pair and half a turn for the second.
constexpr float kQuarterAndHalf[] = {0, 1, -1, 0};

TEST_CASE("rope turns d with d + D/2, or neighbours, as the pairing says") {
  const auto turned = [](OpRun& run, RopePairing pairing) {
    const Tensor table =
        run.floats({1, 2, 2}, {std::begin(kQuarterAndHalf), std::end(kQuarterAndHalf)});
    return run.result(rope(run.graph, run.floats({1, 1, 4}, {1, 2, 3, 4}), table, pairing));
  };
  // A quarter turn takes (a, b) to (-b, a), half a turn to (-a, -b).
  on_each_backend([&](OpRun& run) {  // (1, 3) and (2, 4)
    check_values(turned(run, RopePairing::half), {-3, -2, 1, -4});
  });
  on_each_backend([&](OpRun& run) {  // (1, 2) and (3, 4)
    check_values(turned(run, RopePairing::interleaved), {-2, 1, -3, -4});
  });
}

TEST_CASE("rope turns every head of a token alike, and each token by its own row of the table") {
  for (const RopePairing pairing : {RopePairing::half, RopePairing::interleaved}) {
    on_each_backend([&](OpRun& run) {  // with one pair the pairings agree
      const Tensor table = run.floats({2, 1, 2}, {0, 1, -1, 0});
      const Tensor x = run.floats({2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
      check_values(run.result(rope(run.graph, x, table, pairing)), {-2, 1, -4, 3, -5, -6, -7, -8});
    });
  }
}

TEST_CASE("rope turns a compact row by the token that it came from") {
  for (const RopePairing pairing : {RopePairing::half, RopePairing::interleaved}) {
    on_each_backend([&](OpRun& run) {
      const Tensor table = run.floats({3, 1, 2}, {7, 7, 0, 1, -1, 0});
      const Tensor x = run.floats({3, 2}, {1, 2, 3, 4, 5, 6});
      const Tensor picked = gather_rows(run.graph, x, run.rows(3, {1, 2}));
      const Tensor heads = run.graph.reshape(picked, {3, 1, 2});
      check_values(run.result(rope(run.graph, heads, table, pairing)), {-4, 3, -5, -6});
    });
  }
}

TEST_CASE("rope and rope_table refuse inputs that do not fit") {
  const auto refused = [](std::string_view why, const Shape& x, const Shape& table) {
    check_refused("rope", why, [&](OpRun& run) {
      rope(run.graph, run.leaf(x), run.leaf(table), RopePairing::half);
    });
  };
  refused("a row for every token", {3, 1, 4}, {2, 2, 2});
  refused("twice the number of frequencies", {3, 1, 4}, {3, 4, 2});
  refused("the input must have 3 extents", {3, 4}, {3, 2, 2});
  refused("the table must have 3 extents", {3, 1, 4}, {3, 4});
  check_refused("rope", "the input must be f32", [](OpRun& run) {
    rope(run.graph, run.leaf({3, 1, 4}, Dtype::f16), run.leaf({3, 2, 2}), RopePairing::half);
  });
  check_refused("rope_table", "the positions must be i32",
                [](OpRun& run) { rope_table(run.graph, run.leaf({3}), run.leaf({2}), 1); });
  check_refused("rope_table", "the frequencies must be f32", [](OpRun& run) {
    rope_table(run.graph, run.leaf({3}, Dtype::i32), run.leaf({2}, Dtype::f16), 1);
  });
  check_refused("rope_table", "the frequencies must have 1 extents", [](OpRun& run) {
    rope_table(run.graph, run.leaf({3}, Dtype::i32), run.leaf({1, 2}), 1);
  });
}

}  // namespace
}  // namespace l2a::test
