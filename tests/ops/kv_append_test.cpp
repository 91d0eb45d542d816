#include "ops/kv_append.h"

#include <doctest/doctest.h>

#include <numeric>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

// Appends tokens at `start`, each holding its own position, to a cache of -1s.
Values appended(OpRun& run, std::int64_t capacity, std::int64_t sinks, std::int32_t start,
                std::int64_t count, Dtype dtype = Dtype::f32) {
  std::vector<float> x(static_cast<std::size_t>(count));
  std::iota(x.begin(), x.end(), static_cast<float>(start));
  const std::vector<std::int32_t> positions(x.begin(), x.end());
  const Tensor cache = run.state(dtype, {capacity, 1, 1},
                                 std::vector<float>(static_cast<std::size_t>(capacity), -1.0f));
  kv_append(run.graph, cache, run.floats({count, 1, 1}, x), run.indices(positions), sinks);
  run.results({});
  return run.contents(cache);
}

TEST_CASE("kv_append writes a token's heads to the slot of its position and to no other") {
  on_each_backend([](OpRun& run) {
    const Tensor cache = run.state(Dtype::f32, {3, 2, 2}, std::vector<float>(12, 9.0f));
    const Tensor x = run.floats({1, 2, 2}, {1, 2, 3, 4});
    kv_append(run.graph, cache, x, run.indices({1}), 0);
    run.results({});
    check_values(run.contents(cache), {9, 9, 9, 9, 1, 2, 3, 4, 9, 9, 9, 9});
  });
}

TEST_CASE("kv_append goes round a ring") {
  on_each_backend([](OpRun& run) { check_values(appended(run, 4, 0, 6, 3), {8, -1, 6, 7}); });
}

TEST_CASE("kv_append leaves the sinks alone when it goes round") {
  // Slots 0 and 1 are the sinks'; positions 2, 3, 4, 5, 6, 7 go to slots 2, 3, 4, 2, 3, 4.
  on_each_backend([](OpRun& run) { check_values(appended(run, 5, 2, 0, 4), {0, 1, 2, 3, -1}); });
  on_each_backend([](OpRun& run) { check_values(appended(run, 5, 2, 5, 2), {-1, -1, 5, 6, -1}); });
  on_each_backend([](OpRun& run) { check_values(appended(run, 5, 2, 1, 6), {-1, 1, 5, 6, 4}); });
}

TEST_CASE("of more tokens than a ring holds, kv_append keeps the last") {
  on_each_backend([](OpRun& run) { check_values(appended(run, 3, 0, 0, 8), {6, 7, 5}); });
  on_each_backend([](OpRun& run) { check_values(appended(run, 5, 2, 0, 8), {0, 1, 5, 6, 7}); });
}

TEST_CASE("kv_append writes tokens of positions that do not follow each other") {
  on_each_backend([](OpRun& run) {
    const Tensor cache = run.state(Dtype::f32, {6, 1, 1}, {9, 9, 9, 9, 9, 9});
    kv_append(run.graph, cache, run.floats({3, 1, 1}, {1, 2, 3}), run.indices({1, 5, 2}), 0);
    run.results({});
    check_values(run.contents(cache), {9, 1, 3, 9, 9, 2});
  });
}

TEST_CASE("kv_append rounds to the cache's dtype, ties to even") {
  // f16 has steps of 2 from 2048 on, bf16 from 256 on.
  on_each_backend([](OpRun& run) {
    check_values(appended(run, 4, 0, 2048, 4, Dtype::f16), {2048, 2048, 2050, 2052});
  });
  on_each_backend([](OpRun& run) {
    check_values(appended(run, 4, 0, 256, 4, Dtype::bf16), {256, 256, 258, 260});
  });
}

TEST_CASE("kv_append takes what is in the cache's dtype already as it is") {
  on_each_backend([](OpRun& run) {
    const Tensor cache = run.state(Dtype::f16, {2, 1, 2}, {0, 0, 0, 0});
    kv_append(run.graph, cache, run.weight(Dtype::f16, {1, 1, 2}, {1.5f, -2}), run.indices({1}), 0);
    run.results({});
    check_values(run.contents(cache), {0, 0, 1.5, -2});
  });
}

TEST_CASE("a position's slot is its own among the sinks and goes round behind them") {
  CHECK(cache_slot(0, 5, 2) == 0);
  CHECK(cache_slot(1, 5, 2) == 1);
  CHECK(cache_slot(2, 5, 2) == 2);
  CHECK(cache_slot(4, 5, 2) == 4);
  CHECK(cache_slot(5, 5, 2) == 2);
  CHECK(cache_slot(8, 5, 2) == 2);
  CHECK(cache_slot(131071, 4096, 0) == 4095);
}

TEST_CASE("kv_append refuses what does not fit the cache") {
  struct Case {
    std::string_view why;
    Shape cache, x;
    Dtype cache_type = Dtype::f32, x_type = Dtype::f32;
    std::int64_t positions = 2, sinks = 0;
    Dtype positions_type = Dtype::i32;
  };
  const Shape cache{4, 2, 3}, x{2, 2, 3};
  for (const Case& c : {
           Case{"heads and head size must agree", cache, {2, 3, 3}},
           Case{"heads and head size must agree", cache, {2, 2, 4}},
           Case{"the appended tensor must have 3 extents", cache, {2, 6}},
           Case{"the cache must have 3 extents", {4, 6}, x},
           Case{"the cache must be f32, f16, bf16 or q8_0", cache, x, Dtype::i32},
           Case{"f32 or as the cache", cache, x, Dtype::f16, Dtype::bf16},
           Case{"an i32 position for every token", cache, x, Dtype::f32, Dtype::f32, 3},
           Case{"more slots than sinks", cache, x, Dtype::f32, Dtype::f32, 2, 4},
           Case{"more slots than sinks", cache, x, Dtype::f32, Dtype::f32, 2, -1},
           Case{"an i32 position", cache, x, Dtype::f32, Dtype::f32, 2, 0, Dtype::f32},
       }) {
    check_refused("kv_append", c.why, [&](OpRun& run) {
      kv_append(run.graph, run.leaf(c.cache, c.cache_type), run.leaf(c.x, c.x_type),
                run.leaf({c.positions}, c.positions_type), c.sinks);
    });
  }
  check_refused("kv_append", "the appended tensor must be full", [](OpRun& run) {
    const Tensor compact = gather_rows(run.graph, run.leaf({2, 6}), run.rows(2, {0}));
    kv_append(run.graph, run.leaf({4, 2, 3}), run.graph.reshape(compact, {2, 2, 3}),
              run.leaf({2}, Dtype::i32), 0);
  });
}

}  // namespace
}  // namespace l2a::test
