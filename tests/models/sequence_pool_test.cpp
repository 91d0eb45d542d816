#include "models/sequence_pool.h"

#include <doctest/doctest.h>

#include <cmath>
#include <set>

#include "backends/cpu/cpu_backend.h"
#include "graph/error.h"
#include "ops/reference_backend.h"
#include "tests/device_backend.h"
#include "tests/gpu_backends.h"
#include "tests/models/pool_run.h"

namespace l2a::test {
namespace {

// A pool of a small model, dense unless it says otherwise, on the reference backend.
class TestPool {
 public:
  explicit TestPool(std::string_view name = "qwen3-tiny")
      : model_(load_checkpoint(folder_, name, backend_)) {}

  SequencePool pool(std::int64_t slots, const SessionOptions& options) const {
    return {model_, backend_, {}, options, slots};
  }
  SequencePool pool(std::int64_t slots, std::int64_t context = 30) const {
    SessionOptions options = pool_options(Dtype::f32);
    options.context = context;
    return pool(slots, options);
  }
  Session session(std::int64_t context = 30) const {
    SessionOptions options = pool_options(Dtype::f32);
    options.context = context;
    return {model_, backend_, {}, options};
  }

 private:
  TemporaryFolder folder_;
  std::shared_ptr<Backend> backend_ = make_reference_backend();
  std::shared_ptr<const Model> model_;
};

std::vector<float> copied(const Evaluation& evaluation) {
  return {evaluation.logits().begin(), evaluation.logits().end()};
}

TEST_CASE(
    "sequences that step together compute what each computes alone, to the bit by reference") {
  const TemporaryFolder folder;
  const std::shared_ptr<Backend> backend = make_reference_backend();
  for (const std::string name : kPoolModels) {
    CAPTURE(name);
    const auto model = load_checkpoint(folder, name, backend);
    for (const std::int64_t slots : {1, 3, 8, 9}) {
      CAPTURE(slots);
      check_pool(model, backend, pool_options(Dtype::f32), slots, 0);
    }
    check_pool(model, backend, pool_options(Dtype::f16), 3, 0);
    if (model->config().head_dim % 32 == 0)
      check_pool(model, backend, pool_options(Dtype::q8_0), 3, 0);
  }
}

TEST_CASE("so they do on the CPU at each of its levels, and on GPUs, to rounding") {
  const TemporaryFolder folder;
  const auto check = [&](const std::shared_ptr<Backend>& backend, double tolerance) {
    CAPTURE(backend->name());
    for (const std::string name : kPoolModels) {
      CAPTURE(name);
      const auto model = load_checkpoint(folder, name, backend);
      for (const std::int64_t slots : {1, 3, 8, 9}) {
        CAPTURE(slots);
        check_pool(model, backend, pool_options(Dtype::f32), slots, tolerance);
      }
      // Sums in another order may round a cached value to the other neighbour: 2^-11 of it.
      check_pool(model, backend, pool_options(Dtype::f16), 8, 3e-4);
    }
  };
  // Float sums of some hundred terms in another order.
  for (const SimdLevel level : simd_levels()) check(make_cpu_backend({2, level}), 1e-5);
  for (const auto& backend : gpu_backends()) check(backend, 1e-4);
}

TEST_CASE("quantized weights give a batch what they give each of its sequences") {
  const TemporaryFolder folder;
  std::vector<std::shared_ptr<Backend>> backends = gpu_backends();
  backends.push_back(make_reference_backend());
  backends.push_back(make_cpu_backend({2, std::nullopt}));
  for (const auto& backend : backends) {
    CAPTURE(backend->name());
    for (const std::string name : {"qwen3-tiny", "l2a-qwen3-pruned"}) {
      CAPTURE(name);
      ConvertOptions options;
      options.source = checkpoint(name);
      options.target = folder / concat(backend->name(), name, ".gguf");
      options.type = Dtype::q8_0;
      convert_checkpoint(options);
      const auto model = Model::load(GgufFile::open(options.target), backend);
      SessionOptions run = pool_options(Dtype::f32);
      // Activations are rounded to eight bits. Where sums come in another order, a value between two codes may round to the
      // other one, 1/127 of the largest of 32: in models of 64 to 128 such values a row, about a percent of the logits. A
      // key or weight read in the wrong place changes them altogether. Routes are said, as a decision near its cut would
      // turn too.
      run.forced_routes = [](std::int64_t layer, std::int64_t position) {
        return (layer + position) % 3 == 0;
      };
      check_pool(model, backend, run, 8, backend->name() == "reference" ? 0 : 3e-2);
    }
  }
}

TEST_CASE("a batch is split over two memories as a single sequence is") {
  const TemporaryFolder folder;
  for (const std::string name : {"qwen3-tiny", "l2a-qwen3-pruned", "l2a-qwen3-widen"}) {
    CAPTURE(name);
    const auto file = convert_to(folder / concat(name, ".gguf"), checkpoint(name));
    const std::shared_ptr<Backend> host = make_reference_backend();
    const auto undivided = Model::load(file, host);
    SessionOptions options = pool_options(Dtype::f32);
    options.keep_routes = true;
    const auto sequences = pool_sequences(3);
    const auto expected = run_each_alone(undivided, host, options, sequences);
    const auto device = std::make_shared<DeviceBackend>("none");
    const auto model = Model::load(file, split_layers(undivided->config().layers, 2, device, host));
    SequencePool pool(model, device, {host}, options, 3);
    const auto runs = run_in_pool(pool, sequences);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      CHECK(runs[i].logits == expected[i].logits);
      CHECK(runs[i].routed == expected[i].routed);
    }
  }
}

TEST_CASE("the test's sequences fill and wrap rings at different steps, and slots change hands") {
  for (const std::int64_t slots : {3, 8, 9}) {
    std::set<std::size_t> lengths, wraps;
    bool alone = false;
    for (const PoolSequence& one : pool_sequences(slots)) {
      lengths.insert(one.tokens.size());
      // Windows are 7 and 12 positions.
      if (one.tokens.size() > 12 && one.prompt < 12) wraps.insert(one.joins + 12 - one.prompt);
      alone = alone || one.tokens.size() <= 12;
    }
    CHECK(lengths.size() > 3);
    CHECK(wraps.size() > 1);
    CHECK(alone);
    CHECK(*lengths.rbegin() <= 30);
  }
}

TEST_CASE("a step gives the most likely token and the candidates of each sequence") {
  const TestPool test;
  SessionOptions options = pool_options(Dtype::f32);
  options.candidates = 4;
  SequencePool pool = test.pool(3, options);
  for (const std::int64_t slot : {0, 2})
    pool.prefill(slot, some_tokens(3 + static_cast<std::size_t>(slot)));
  const Evaluation step = pool.step(std::vector<SlotToken>{{0, 5}, {2, 9}});
  REQUIRE(step.logits().size() == 2 * 512);
  REQUIRE(step.most_likely().size() == 2);
  REQUIRE(step.candidates().size() == 2 * 4);
  for (std::size_t row = 0; row < 2; ++row) {
    const auto logits = step.logits().subspan(row * 512, 512);
    const auto largest = std::ranges::max_element(logits) - logits.begin();
    CHECK(step.most_likely()[row] == largest);
    CHECK(step.candidates()[4 * row].token == largest);
  }
}

TEST_CASE("a pool refuses slots that it has not, twice, or out of order, and says which") {
  const TestPool test;
  SequencePool pool = test.pool(3);
  const auto message = [&](const std::vector<SlotToken>& entries) {
    return message_of<Error>([&] { pool.step(entries); });
  };
  CHECK(contains(message({{3, 1}}), "no slot 3: a pool of 3 has 0 to 2"));
  CHECK(contains(message({{-1, 1}}), "no slot -1"));
  CHECK(contains(message({{1, 1}, {1, 2}}), "slot 1 comes after slot 1"));
  CHECK(contains(message({{2, 1}, {0, 2}}), "slot 0 comes after slot 2"));
  CHECK(contains(message({}), "at least one sequence"));
  CHECK(contains(message({{0, 1}, {2, 512}}), "slot 2: token 0 is 512, outside the vocabulary"));
  const std::vector<Token> tokens = {1, 2};
  for (const std::int64_t slot : {-1, 3}) {
    CHECK_THROWS_AS(pool.run(slot, tokens, LogitsOf::last), Error);
    CHECK_THROWS_AS(pool.prefill(slot, tokens), Error);
    CHECK_THROWS_AS(pool.reset(slot), Error);
    CHECK_THROWS_AS(pool.assume(slot, 1), Error);
    CHECK_THROWS_AS(pool.position(slot), Error);
    CHECK_THROWS_AS(pool.routing(slot), Error);
    CHECK_THROWS_AS(pool.cache_bytes(slot), Error);
    CHECK_THROWS_AS(pool.plan(slot, 1, LogitsOf::last), Error);
  }
  for (const std::int64_t slot : {0, 1, 2}) CHECK(pool.position(slot) == 0);
  CHECK(contains(message_of<Error>([&] { test.pool(0); }), "at least 1 slot, not 0"));
  CHECK(contains(message_of<Error>([&] { test.pool(3, std::int64_t{1} << 30); }),
                 "the contexts of 3 sequences are together at most 2147483647 tokens"));
  SessionOptions narrowing = pool_options(Dtype::f32);
  narrowing.narrowing = {4, 1};
  CHECK(contains(message_of<Error>([&] { test.pool(2, narrowing); }), "narrowing"));
}

TEST_CASE("a full context is its slot's alone: a step with it throws and changes no other") {
  for (const char* name : {"qwen3-tiny", "l2a-qwen3-tiny", "l2a-qwen3-widen"}) {
    CAPTURE(name);
    const TestPool test(name);
    SequencePool pool = test.pool(3, 12);
    Session alone = test.session(12);
    const std::vector<Token> tokens = some_tokens(12);
    pool.prefill(0, std::span(tokens).first(4));
    alone.prefill(std::span(tokens).first(4));
    pool.prefill(1, tokens);
    const std::vector<SlotToken> all = {{0, 5}, {1, 6}, {2, 7}};
    CHECK(contains(message_of<Error>([&] { pool.step(all); }),
                   "slot 1: 1 token does not fit: the context holds 12 and 12 are in use"));
    CHECK(pool.position(0) == 4);
    CHECK(pool.position(1) == 12);
    CHECK(pool.position(2) == 0);
    CHECK(contains(message_of<Error>([&] { pool.prefill(1, tokens); }), "slot 1: 12 tokens do"));
    const std::vector<SlotToken> others = {{0, 5}, {2, 7}};
    const auto logits = copied(pool.step(others));
    CHECK(std::vector(logits.begin(), logits.begin() + 512) == copied(alone.decode(5)));
    // The next sequence in the slot begins anew.
    pool.reset(1);
    Session fresh = test.session(12);
    fresh.prefill(std::span(tokens).last(5));
    pool.prefill(1, std::span(tokens).last(5));
    const auto next = copied(pool.step(std::vector<SlotToken>{{1, 8}, {2, 9}}));
    CHECK(std::vector(next.begin(), next.begin() + 512) == copied(fresh.decode(8)));
    CHECK(pool.routing(1).routed == fresh.routing().routed);
  }
}

TEST_CASE("each set of slots has one plan, replayed, and no more than eight are kept") {
  const TestPool test("l2a-qwen3-widen");
  SequencePool pool = test.pool(6, 200);
  const auto step = [&](std::initializer_list<std::int64_t> slots) {
    std::vector<SlotToken> entries;
    for (const std::int64_t slot : slots) entries.push_back({slot, 1});
    pool.step(entries);
    return &pool.plan(std::span(slots.begin(), slots.size()));
  };
  const Plan* const first = step({0, 1});
  const std::size_t bytes = pool.arena_bytes();
  for (int i = 0; i < 5; ++i) CHECK(step({0, 1}) == first);
  CHECK(pool.arena_bytes() == bytes);
  std::size_t largest = bytes;
  for (std::int64_t a = 0; a < 6; ++a) {
    for (std::int64_t b = a + 1; b < 6; ++b) {
      largest = std::max(largest, step({a, b})->arena_bytes());
      CHECK(pool.arena_bytes() <= 8 * largest);
    }
  }
  CHECK(pool.arena_bytes() == 8 * largest);
  // A step of one slot is a plan of a single sequence's.
  CHECK(step({3}) == &pool.plan(3, 1, LogitsOf::last));
}

TEST_CASE(
    "steps of a batch tell the time of their ops, and where observers ask what they multiply") {
  const TestPool test("l2a-qwen3-pruned");
  SessionOptions options = pool_options(Dtype::f32);
  options.forced_routes = [](std::int64_t layer, std::int64_t position) {
    return layer == 0 && position == 4;
  };
  std::vector<std::int64_t> rows_of_queries;
  options.observe_matmul = [&](const MatmulOperand& operand) {
    if (std::ranges::find(operand.weights, "blk.0.attn_q_global.weight") != operand.weights.end())
      rows_of_queries.push_back(static_cast<std::int64_t>(operand.values.size()) / operand.columns);
  };
  SequencePool pool = test.pool(3, options);
  pool.prefill(0, some_tokens(2));
  pool.prefill(2, some_tokens(4));
  rows_of_queries.clear();
  OpTimes times;
  pool.time_ops(&times);
  pool.step(std::vector<SlotToken>{{0, 3}, {1, 4}, {2, 5}});
  pool.time_ops(nullptr);
  CHECK(rows_of_queries == std::vector<std::int64_t>{0, 0, 1});  // of the one at position 4
  std::int64_t calls = 0;
  for (const auto& [name, time] : times) calls += time.calls;
  const std::vector<std::int64_t> slots = {0, 1, 2};
  CHECK(calls == static_cast<std::int64_t>(pool.plan(slots).graph().nodes().size()));
  CHECK(pool.routing(2).routed[0] == 1);
  CHECK(pool.routing(0).routed[0] == 0);
}

TEST_CASE("a depth can be assumed in each slot") {
  const TestPool test("l2a-qwen3-tiny");
  SequencePool pool = test.pool(3);
  pool.assume(1, 20);
  pool.assume(2, 29);
  CHECK(pool.position(1) == 20);
  CHECK(pool.routing(1).tokens == 0);
  const Evaluation step = pool.step(std::vector<SlotToken>{{0, 1}, {1, 1}, {2, 1}});
  for (const float logit : step.logits()) CHECK(std::isfinite(logit));
  CHECK(pool.position(2) == 30);
  CHECK(pool.routing(1).tokens == 1);
  Session alone = test.session();
  CHECK(std::ranges::equal(step.logits().first(512), alone.decode(1).logits()));
  CHECK_THROWS_AS(pool.assume(1, 31), Error);
}

}  // namespace
}  // namespace l2a::test
