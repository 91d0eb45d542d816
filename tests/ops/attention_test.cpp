#include "ops/attention.h"

#include <doctest/doctest.h>

#include <numeric>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

// A query of zeros weighs all keys alike, so its result is the mean of the values that it sees. With
// the value 2^j at position j the mean times their number says exactly which they are.
float value_of(std::int64_t position) { return std::ldexp(1.0f, static_cast<int>(position)); }

double mean_of(const std::vector<std::int64_t>& seen) {
  double sum = 0;
  for (const std::int64_t position : seen) sum += value_of(position);
  return sum / static_cast<double>(seen.size());
}

Values means(const std::vector<std::vector<std::int64_t>>& seen_by_token) {
  Values values;
  for (const auto& seen : seen_by_token) values.push_back(mean_of(seen));
  return values;
}

// One head of size 1: caches with the values of these positions in their slots (-1: a slot that
// nobody may read, which holds NaN), and a query of zeros for `count` tokens from `start` on.
AttentionInputs zero_query(OpRun& run, const std::vector<std::int64_t>& slots, std::int64_t start,
                           std::int64_t count) {
  std::vector<float> keys, values;
  for (const std::int64_t position : slots) {
    keys.push_back(position < 0 ? NAN : 1.0f);
    values.push_back(position < 0 ? NAN : value_of(position));
  }
  const Shape cache{static_cast<std::int64_t>(slots.size()), 1, 1};
  std::vector<std::int32_t> positions(static_cast<std::size_t>(count));
  std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(start));
  AttentionInputs inputs;
  inputs.query = run.floats({count, 1, 1}, std::vector<float>(positions.size(), 0.0f));
  inputs.keys = run.state(Dtype::f32, cache, keys);
  inputs.values = run.state(Dtype::f32, cache, values);
  inputs.positions = run.indices(positions);
  return inputs;
}

void add_fresh(OpRun& run, AttentionInputs& inputs, std::int64_t start, std::int64_t count) {
  std::vector<float> values;
  for (std::int64_t t = 0; t < count; ++t) values.push_back(value_of(start + t));
  inputs.fresh_keys = run.floats({count, 1, 1}, std::vector<float>(values.size(), 1.0f));
  inputs.fresh_values = run.floats({count, 1, 1}, values);
}

TEST_CASE("attention is causal: a token sees the keys up to its own and none behind it") {
  on_each_backend([](OpRun& run) {
    const AttentionInputs inputs = zero_query(run, {0, 1, 2, 3, -1}, 1, 3);
    check_values(run.result(attention(run.graph, inputs, {})),
                 means({{0, 1}, {0, 1, 2}, {0, 1, 2, 3}}), kRounding);
  });
}

TEST_CASE("attention's window counts the token itself") {
  on_each_backend([](OpRun& run) {
    const AttentionInputs inputs = zero_query(run, {0, 1, 2, 3}, 0, 4);
    check_values(run.result(attention(run.graph, inputs, {.window = 2})),
                 means({{0}, {0, 1}, {1, 2}, {2, 3}}), kRounding);
  });
  on_each_backend([](OpRun& run) {
    const AttentionInputs inputs = zero_query(run, {-1, 1, 2, -1}, 1, 2);
    check_values(run.result(attention(run.graph, inputs, {.window = 1})), means({{1}, {2}}),
                 kRounding);
  });
}

TEST_CASE("sinks are seen beside the window, and once where the window covers them") {
  on_each_backend([](OpRun& run) {
    const AttentionInputs inputs = zero_query(run, {0, 1, 2, 3, 4, 5}, 0, 6);
    check_values(run.result(attention(run.graph, inputs, {.window = 2, .sinks = 2})),
                 means({{0}, {0, 1}, {0, 1, 2}, {0, 1, 2, 3}, {0, 1, 3, 4}, {0, 1, 4, 5}}),
                 kRounding);
  });
}

TEST_CASE("a compact query's rows see what their own tokens see") {
  on_each_backend([](OpRun& run) {
    AttentionInputs inputs = zero_query(run, {0, 1, 2, 3, 4, 5}, 2, 4);
    const Tensor flat = run.floats({4, 1}, {0, 0, 0, 0});
    inputs.query = run.graph.reshape(gather_rows(run.graph, flat, run.rows(4, {1, 3})), {4, 1, 1});
    check_values(run.result(attention(run.graph, inputs, {})),
                 means({{0, 1, 2, 3}, {0, 1, 2, 3, 4, 5}}), kRounding);
  });
}

TEST_CASE("wide rows see every key and the others their window and sinks") {
  on_each_backend([](OpRun& run) {
    AttentionInputs inputs = zero_query(run, {0, 1, 2, 3, 4, 5}, 3, 3);
    inputs.wide = run.rows(3, {1});
    check_values(run.result(attention(run.graph, inputs, {.window = 1, .sinks = 1})),
                 means({{0, 3}, {0, 1, 2, 3, 4}, {0, 5}}), kRounding);
  });
}

TEST_CASE("a chunk on a ring reads its own keys fresh and the older ones from the ring") {
  on_each_backend([](OpRun& run) {
    // Positions 2, 3, 4 in a ring of 3: slots 2, 0, 1. The chunk is 5 to 8.
    AttentionInputs inputs = zero_query(run, {3, 4, 2}, 5, 4);
    add_fresh(run, inputs, 5, 4);
    check_values(run.result(attention(run.graph, inputs, {.window = 3})),
                 means({{3, 4, 5}, {4, 5, 6}, {5, 6, 7}, {6, 7, 8}}), kRounding);
  });
}

TEST_CASE("a chunk on a ring with sinks reads them from their own slots") {
  const AttentionOptions options{.window = 2, .sinks = 1, .cache_sinks = 1};
  on_each_backend([&](OpRun& run) {  // position 0 in its slot, 5 and 6 behind it: 1 + 4%2, 1 + 5%2
    AttentionInputs inputs = zero_query(run, {0, 5, 6}, 7, 2);
    add_fresh(run, inputs, 7, 2);
    check_values(run.result(attention(run.graph, inputs, options)), means({{0, 6, 7}, {0, 7, 8}}),
                 kRounding);
  });
  on_each_backend([&](OpRun& run) {  // the first chunk: the sink itself is fresh
    AttentionInputs inputs = zero_query(run, {-1, -1, -1}, 0, 4);
    add_fresh(run, inputs, 0, 4);
    check_values(run.result(attention(run.graph, inputs, options)),
                 means({{0}, {0, 1}, {0, 1, 2}, {0, 2, 3}}), kRounding);
  });
}

TEST_CASE("one token on a ring reads all of it, its own key included") {
  on_each_backend([](OpRun& run) {
    const AttentionInputs inputs = zero_query(run, {0, 7, 8, 6}, 8, 1);  // 1 sink; 6, 7, 8 go round
    check_values(
        run.result(attention(run.graph, inputs, {.window = 3, .sinks = 1, .cache_sinks = 1})),
        {mean_of({0, 6, 7, 8})}, kRounding);
  });
}

// Queries, keys and values of a cache that holds just this run's tokens.
AttentionInputs dense(OpRun& run, const Shape& query, const std::vector<float>& q,
                      const Shape& cache, const std::vector<float>& k, const std::vector<float>& v,
                      const std::vector<std::int32_t>& positions) {
  AttentionInputs inputs;
  inputs.query = run.floats(query, q);
  inputs.keys = run.state(Dtype::f32, cache, k);
  inputs.values = run.state(Dtype::f32, cache, v);
  inputs.positions = run.indices(positions);
  return inputs;
}

TEST_CASE("attention weighs values by the softmax of scores divided by the root of the head size") {
  // Head size 4: the second key's product 2 ln 3 becomes ln 3, so the weights are 1/4 and 3/4.
  const float ln3 = std::log(3.0f);
  on_each_backend([&](OpRun& run) {
    const AttentionInputs inputs = dense(run, {1, 1, 4}, {ln3, 0, ln3, 0}, {2, 1, 4},
                                         {0, 5, 0, 5, 1, 7, 1, 7}, {8, 0, 4, 1, 0, 8, 4, 5}, {1});
    check_values(run.result(attention(run.graph, inputs, {})), {2, 6, 4, 4}, kRounding);
  });
}

TEST_CASE("attention of scores beyond the range of exp is the largest's value") {
  on_each_backend([](OpRun& run) {
    const AttentionInputs inputs =
        dense(run, {1, 1, 1}, {1000}, {3, 1, 1}, {-1, 1, 0}, {5, 7, 9}, {2});
    check_values(run.result(attention(run.graph, inputs, {})), {7}, kRounding);
  });
}

TEST_CASE("neighbouring query heads share a key head, in order") {
  // Four query heads, two key heads with the values 10, 20 and 100, 200. A query of 0 takes their
  // mean; one of 100 the second, whose key is 1 in head 0 and the first in head 1, whose key is -1.
  on_each_backend([](OpRun& run) {
    const AttentionInputs inputs =
        dense(run, {1, 4, 1}, {0, 100, 0, 100}, {2, 2, 1}, {0, 0, 1, -1}, {10, 100, 20, 200}, {1});
    check_values(run.result(attention(run.graph, inputs, {})), {15, 20, 150, 100}, kRounding);
  });
}

TEST_CASE("attention reads caches of every dtype that they come in") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    CAPTURE(dtype_name(dtype));
    on_each_backend([&](OpRun& run) {
      AttentionInputs inputs =
          dense(run, {1, 1, 2}, {0, 0}, {2, 1, 2}, {1, 2, 3, 4}, {0, 0, 0, 0}, {1});
      inputs.keys = run.state(dtype, {2, 1, 2}, {1, 2, 3, 4});
      inputs.values = run.state(dtype, {2, 1, 2}, {1.5f, -4, 2.5f, 8});
      check_values(run.result(attention(run.graph, inputs, {})), {2, 2}, kRounding);
    });
  }
}

TEST_CASE("a token's keys are its window's and the sinks before it") {
  const AttentionOptions options{.window = 3, .sinks = 2};
  const auto check_range = [&](std::int64_t position, bool wide, const Values& expected) {
    const KeyRange range = key_range(options, position, wide);
    check_values({static_cast<double>(range.sinks_end), static_cast<double>(range.begin),
                  static_cast<double>(range.end)},
                 expected);
  };
  check_range(0, false, {0, 0, 1});
  check_range(2, false, {0, 0, 3});  // the window is just full
  check_range(3, false, {1, 1, 4});  // position 0 left it; one sink is outside
  check_range(10, false, {2, 8, 11});
  check_range(10, true, {0, 0, 11});
}

struct Leaves {
  Shape query{2, 4, 8}, keys{6, 2, 8}, values{6, 2, 8}, positions{2};
  Dtype query_type = Dtype::f32, keys_type = Dtype::f16, values_type = Dtype::f16,
        positions_type = Dtype::i32;
  AttentionOptions options{};
};

AttentionInputs leaves(OpRun& run, const Leaves& l) {
  AttentionInputs inputs;
  inputs.query = run.leaf(l.query, l.query_type);
  inputs.keys = run.leaf(l.keys, l.keys_type);
  inputs.values = run.leaf(l.values, l.values_type);
  inputs.positions = run.leaf(l.positions, l.positions_type);
  return inputs;
}

TEST_CASE("attention's cost counts the keys that each token sees, and each cached key once") {
  constexpr std::int64_t kHeads = 4, kKeyHeads = 2, kDim = 8;
  for (const std::int64_t tokens : {1, 3, 16}) {
    for (const std::int64_t context : {16, 20, 40}) {
      for (const std::int64_t window : {0, 1, 7, 18, 100}) {
        CAPTURE(tokens);
        CAPTURE(context);
        CAPTURE(window);
        OpRun run(make_reference_backend());
        AttentionInputs inputs;
        inputs.query = run.graph.input("query", Dtype::f32, {tokens, kHeads, kDim});
        inputs.keys = run.graph.input("keys", Dtype::f16, {64, kKeyHeads, kDim});
        inputs.values = run.graph.input("values", Dtype::f16, {64, kKeyHeads, kDim});
        inputs.positions = run.graph.input("positions", Dtype::i32, {tokens});
        const AttentionOptions options{window, 0, 0};
        run.graph.output(attention(run.graph, inputs, options));
        double pairs = 0;
        std::int64_t oldest = context;
        for (std::int64_t t = context - tokens; t < context; ++t) {
          const KeyRange range = key_range(options, t, false);
          pairs += static_cast<double>(range.end - range.begin);
          oldest = std::min(oldest, range.begin);
        }
        const Cost cost = run.graph.build()->cost({context, 1});
        CHECK(cost.operations == doctest::Approx(4.0 * pairs * kHeads * kDim));
        const double keys = static_cast<double>(context - oldest) * 2 * kKeyHeads * kDim * 2;
        CHECK(cost.bytes ==
              doctest::Approx(keys + 2.0 * static_cast<double>(tokens * kHeads * kDim) * 4));
      }
    }
  }
}

TEST_CASE("attention refuses inputs that do not fit") {
  const auto refused = [](std::string_view why, const Leaves& l) {
    check_refused("attention", why,
                  [&](OpRun& run) { attention(run.graph, leaves(run, l), l.options); });
  };
  {  // What is refused below is accepted without the one thing wrong.
    OpRun run(make_reference_backend());
    CHECK_NOTHROW(attention(run.graph, leaves(run, {}), {}));
  }
  refused("the query must be f32", {.query_type = Dtype::f16});
  refused("the query must have 3 extents", {.query = {2, 32}});
  refused("the keys must have 3 extents", {.keys = {6, 16}});
  refused("the caches must be f32, f16, bf16 or q8_0", {.keys_type = Dtype::i32});
  refused("one dtype and shape", {.values_type = Dtype::bf16});
  refused("one dtype and shape", {.values = {5, 2, 8}});
  refused("one head size", {.query = {2, 4, 6}});
  refused("a multiple of the key heads", {.query = {2, 3, 8}});
  refused("an i32 position for every token", {.positions = {3}});
  refused("an i32 position for every token", {.positions_type = Dtype::f32});
  refused("cannot be negative", {.options = {.window = -1}});
  refused("cannot be negative", {.options = {.window = 1, .sinks = -1}});
  refused("more slots than sinks", {.options = {.window = 1, .sinks = 6, .cache_sinks = 6}});
}

TEST_CASE("attention refuses fresh keys, wide rows and compact queries that do not fit") {
  const auto refused = [](std::string_view why, auto change) {
    check_refused("attention", why, [&](OpRun& run) {
      AttentionInputs inputs = leaves(run, {});
      change(run, inputs);
      attention(run.graph, inputs, {});
    });
  };
  refused("come together", [](OpRun& run, AttentionInputs& inputs) {
    inputs.fresh_keys = run.leaf({2, 2, 8}, Dtype::f16);
  });
  refused("[T, Hk, D] in the dtype of the caches", [](OpRun& run, AttentionInputs& inputs) {
    inputs.fresh_keys = inputs.fresh_values = run.leaf({2, 2, 8}, Dtype::f32);
  });
  refused("[T, Hk, D] in the dtype of the caches", [](OpRun& run, AttentionInputs& inputs) {
    inputs.fresh_keys = inputs.fresh_values = run.leaf({3, 2, 8}, Dtype::f16);
  });
  refused("must be Rows", [](OpRun& run, AttentionInputs& inputs) {
    inputs.wide = {run.leaf({3}, Dtype::i32).id};
  });
  refused("no rows of another kind", [](OpRun& run, AttentionInputs& inputs) {
    const Rows rows = run.rows(2, {1});
    inputs.wide = rows;
    inputs.query = run.graph.reshape(gather_rows(run.graph, run.leaf({2, 32}), rows), {2, 4, 8});
  });
}

}  // namespace
}  // namespace l2a::test
