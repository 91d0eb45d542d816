#include "models/session.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "backends/cpu/cpu_backend.h"
#include "graph/error.h"
#include "tests/models/test_model.h"

namespace l2a::test {
namespace {

// One model of each kind: dense, add, add with pruned layers, widen with a pruned layer, widen.
constexpr const char* kKinds[] = {"qwen3-tiny", "l2a-qwen3-tiny", "l2a-qwen3-pruned",
                                  "l2a-qwen3-widen", "l2a-llama-widen"};

SessionOptions f32_cache(std::int64_t context, std::int64_t chunk = 512) {
  SessionOptions options;
  options.context = context;
  options.chunk = chunk;
  options.cache_dtype = Dtype::f32;
  return options;
}

class TestModel {
 public:
  explicit TestModel(std::string_view name) : model_(load_checkpoint(folder_, name, backend_)) {}

  Session session(const SessionOptions& options) const { return {model_, backend_, {}, options}; }
  Session session(std::int64_t context, std::int64_t chunk = 512) const {
    return session(f32_cache(context, chunk));
  }
  const Model& model() const { return *model_; }
  const ModelConfig& config() const { return model_->config(); }

 private:
  TemporaryFolder folder_;
  std::shared_ptr<Backend> backend_ = make_cpu_backend({2, std::nullopt});
  std::shared_ptr<const Model> model_;
};

template <class Test>
void for_each_kind(Test test) {
  for (const std::string name : kKinds) {
    CAPTURE(name);
    test(TestModel(name));
  }
}

std::vector<float> copied(const Evaluation& evaluation) {
  return {evaluation.logits().begin(), evaluation.logits().end()};
}

TEST_CASE("a step with a token outside the vocabulary throws and leaves the caches as before") {
  const std::vector<Token> tokens = some_tokens(30);
  for_each_kind([&](const TestModel& model) {
    Session tried = model.session(40), untried = model.session(40);
    for (Session* session : {&tried, &untried})
      session->step(std::span(tokens).first(20), LogitsOf::none);
    const auto vocabulary = static_cast<Token>(model.config().vocabulary);
    for (const Token bad : {vocabulary, Token{-1}, Token{INT32_MAX}, Token{INT32_MIN}}) {
      const std::vector<Token> step = {1, 2, bad, 3};
      const std::string message = message_of<Error>([&] { tried.step(step, LogitsOf::last); });
      CHECK(contains(message, concat("token 2 is ", bad)));
      CHECK(contains(message, concat("vocabulary of ", vocabulary)));
    }
    CHECK_THROWS_AS(tried.step({}, LogitsOf::last), Error);
    CHECK(tried.position() == 20);
    const auto rest = std::span(tokens).subspan(20);
    CHECK(logits_of(tried, rest, 4) == logits_of(untried, rest, 4));
    CHECK(tried.routing().routed == untried.routing().routed);
  });
}

TEST_CASE("a step beyond the context throws and leaves the caches as before") {
  const std::vector<Token> tokens = some_tokens(24);
  for_each_kind([&](const TestModel& model) {
    Session tried = model.session(22), untried = model.session(22);
    for (Session* session : {&tried, &untried})
      session->step(std::span(tokens).first(20), LogitsOf::none);
    const std::string message =
        message_of<Error>([&] { tried.step(std::span(tokens).last(3), LogitsOf::last); });
    CHECK(contains(message, "3 tokens do not fit: the context holds 22 and 20 are in use"));
    CHECK_THROWS_AS(tried.prefill(tokens), Error);
    CHECK(tried.position() == 20);
    const auto rest = std::span(tokens).subspan(20, 2);
    CHECK(logits_of(tried, rest, 1) == logits_of(untried, rest, 1));
    CHECK_THROWS_AS(tried.decode(1), Error);
    CHECK(tried.position() == 22);
  });
}

TEST_CASE("a prompt with a bad token in a later chunk is refused before its first chunk") {
  const TestModel model("l2a-qwen3-tiny");
  Session session = model.session(40, 4);
  std::vector<Token> tokens = some_tokens(10);
  tokens[9] = 512;
  const std::string message = message_of<Error>([&] { session.prefill(tokens); });
  CHECK(contains(message, "token 9 is 512, outside the vocabulary of 512"));
  CHECK(session.position() == 0);
  CHECK_THROWS_AS(session.prefill({}), Error);
}

TEST_CASE("reset forgets every token and every count") {
  const std::vector<Token> first = some_tokens(30);
  const std::vector<Token> second(first.rbegin(), first.rend());
  for_each_kind([&](const TestModel& model) {
    Session used = model.session(40), fresh = model.session(40);
    logits_of(used, first, 8, 5);
    used.reset();
    CHECK(used.position() == 0);
    CHECK(used.routing().tokens == 0);
    CHECK(used.routing().share() == 0);
    CHECK(used.cache_bytes().total() == 0);
    CHECK(logits_of(used, second, 8, 5) == logits_of(fresh, second, 8, 5));
    CHECK(used.routing().routed == fresh.routing().routed);
  });
}

TEST_CASE("prefill gives the last token's logits whatever the size of its chunks") {
  const std::vector<Token> tokens = some_tokens(50);
  for_each_kind([&](const TestModel& model) {
    Session reference = model.session(50);
    const auto all = copied(reference.step(tokens, LogitsOf::all));
    const auto last = std::span(all).last(static_cast<std::size_t>(model.config().vocabulary));
    for (const std::int64_t chunk : {1, 2, 7, 16, 49, 50, 500}) {
      CAPTURE(chunk);
      Session session = model.session(50, chunk);
      const Evaluation result = session.prefill(tokens);
      CHECK(relative_error(result.logits(), last) < 1e-5);
      const auto largest = std::max_element(last.begin(), last.end()) - last.begin();
      REQUIRE(result.most_likely().size() == 1);
      CHECK(result.most_likely()[0] == largest);
      CHECK(session.position() == 50);
      CHECK(session.routing().routed == reference.routing().routed);
    }
  });
}

TEST_CASE("a step's candidates are the largest of its logits") {
  const test::TemporaryFolder folder;
  const auto backend = make_cpu_backend();
  const auto model = load_checkpoint(folder, "qwen3-tiny", backend);
  SessionOptions options;
  options.context = 16;
  options.candidates = 7;
  Session session(model, backend, {}, options);
  const Evaluation step = session.step(some_tokens(3), LogitsOf::all);
  REQUIRE(step.candidates().size() == 3 * 7);
  for (std::size_t row = 0; row < 3; ++row) {
    const auto logits = step.logits().subspan(row * 512, 512);
    std::vector<float> sorted(logits.begin(), logits.end());
    std::sort(sorted.begin(), sorted.end(), std::greater<>());
    CHECK(step.candidates()[7 * row].token == step.most_likely()[row]);
    for (std::size_t i = 0; i < 7; ++i) {
      const Candidate& candidate = step.candidates()[7 * row + i];
      CHECK(candidate.logit == sorted[i]);
      CHECK(candidate.logit == logits[static_cast<std::size_t>(candidate.token)]);
    }
  }
  CHECK(session.step(some_tokens(2), LogitsOf::none).candidates().empty());
  options.candidates = -1;
  CHECK_THROWS_AS(Session(model, backend, {}, options), Error);
}

TEST_CASE("a step computes the logits that were asked for and no others") {
  const TestModel model("qwen2-tiny");
  const std::vector<Token> tokens = some_tokens(5);
  Session all = model.session(5), last = model.session(5), none = model.session(5);
  const Evaluation every = all.step(tokens, LogitsOf::all);
  CHECK(every.logits().size() == 5 * 512);
  CHECK(every.most_likely().size() == 5);
  const Evaluation one = last.step(tokens, LogitsOf::last);
  CHECK(one.logits().size() == 512);
  CHECK(relative_error(one.logits(), every.logits().last(512)) < 1e-5);
  CHECK(none.step(tokens, LogitsOf::none).logits().empty());
  CHECK(none.position() == 5);
}

TEST_CASE("prefill tells its progress after each chunk, and stops where that says so") {
  const TestModel model("l2a-qwen3-tiny");
  const std::vector<Token> tokens = some_tokens(10);
  std::vector<std::int64_t> told;
  Session session = model.session(20, 4);
  const auto whole = copied(session.prefill(tokens, [&](std::int64_t done) {
    told.push_back(done);
    return true;
  }));
  CHECK(told == std::vector<std::int64_t>{4, 8, 10});

  Session stopped = model.session(20, 4);
  const Evaluation nothing = stopped.prefill(tokens, [](std::int64_t done) { return done < 8; });
  CHECK(nothing.empty());
  CHECK(stopped.position() == 8);
  // What was done stays done.
  CHECK(copied(stopped.prefill(std::span(tokens).subspan(8))) == whole);

  Session late = model.session(20, 4);  // there is nothing left to stop after the last chunk
  CHECK(copied(late.prefill(tokens, [](std::int64_t done) { return done < 10; })) == whole);
}

TEST_CASE("routing counts what the lists of routed tokens say, layer by layer") {
  const std::vector<Token> tokens = some_tokens(40);
  const TestModel model("l2a-qwen3-pruned");  // layers 1 and 3 are pruned
  SessionOptions options = f32_cache(40);
  options.keep_routes = true;
  Session session = model.session(options);
  std::vector<std::int64_t> counted(2, 0);
  for (std::size_t begin = 0; begin < tokens.size(); begin += 8) {
    const Evaluation step = session.step(std::span(tokens).subspan(begin, 8), LogitsOf::none);
    REQUIRE(step.routes.size() == 2);
    for (std::size_t i = 0; i < 2; ++i) {
      counted[i] += static_cast<std::int64_t>(step.routes[i].size());
      CHECK(std::is_sorted(step.routes[i].begin(), step.routes[i].end()));
    }
  }
  REQUIRE(counted[0] + counted[1] > 0);
  const RoutingStats stats = session.routing();
  CHECK(stats.tokens == 40);
  CHECK(stats.routed == std::vector<std::int64_t>{counted[0], -1, counted[1], -1});
  CHECK(stats.share() == static_cast<double>(counted[0] + counted[1]) / 80);
}

TEST_CASE("a dense model routes nothing and says so") {
  const TestModel model("qwen3-tiny");
  Session session = model.session(10);
  session.step(some_tokens(4), LogitsOf::none);
  CHECK(session.routing().tokens == 4);
  CHECK(session.routing().routed == std::vector<std::int64_t>(3, -1));
  CHECK(session.routing().share() == 0);
}

TEST_CASE("cache_bytes is what each kind of layer keeps") {
  const auto check_bytes = [](const TestModel& model, Dtype dtype, std::int64_t positions,
                              std::uint64_t local, std::uint64_t global) {
    CAPTURE(positions);
    const CacheBytes bytes = cache_bytes(model.config(), dtype, positions);
    CHECK(bytes.local == local);
    CHECK(bytes.global == global);
    CHECK(bytes.total() == local + global);
  };
  // In f16 a position takes 2 (key, value) * 2 heads * head size * 2 bytes.
  const TestModel dense("qwen3-tiny");  // 3 layers, head size 32: 256 bytes
  check_bytes(dense, Dtype::f16, 0, 0, 0);
  check_bytes(dense, Dtype::f16, 20, 0, 3 * 20 * 256);
  check_bytes(dense, Dtype::f32, 20, 0, 3 * 20 * 512);
  const TestModel add("l2a-qwen3-tiny");  // 3 layers, head size 16: 128 bytes; window 7
  check_bytes(add, Dtype::bf16, 5, 3 * 5 * 128, 3 * 5 * 128);
  check_bytes(add, Dtype::bf16, 20, 3 * 7 * 128, 3 * 20 * 128);
  const TestModel pruned("l2a-qwen3-pruned");  // 4 layers, 2 of them pruned, 256 bytes; window 12
  check_bytes(pruned, Dtype::f16, 20, 4 * 12 * 256, 2 * 20 * 256);
  const TestModel widen("l2a-llama-widen");  // 4 layers, 256 bytes
  check_bytes(widen, Dtype::f16, 20, 0, 4 * 20 * 256);
  // 4 layers, 1 of them pruned, 256 bytes; window 12 and 3 sinks
  const TestModel widen_pruned("l2a-qwen3-widen");
  check_bytes(widen_pruned, Dtype::f16, 14, 14 * 256, 3 * 14 * 256);
  check_bytes(widen_pruned, Dtype::f16, 20, 15 * 256, 3 * 20 * 256);
}

TEST_CASE("a session's cache_bytes are those of the tokens in it") {
  const TestModel model("l2a-qwen3-tiny");
  Session session = model.session(30);
  CHECK(session.cache_bytes().total() == 0);
  session.step(some_tokens(9), LogitsOf::none);
  // f32: 256 bytes a position, window 7, 3 layers
  CHECK(session.cache_bytes().local == 3 * 7 * 256);
  CHECK(session.cache_bytes().global == 3 * 9 * 256);
}

TEST_CASE(
    "a context of one token, and one shorter than the window, change nothing but their length") {
  const std::vector<Token> tokens = some_tokens(5);
  for_each_kind([&](const TestModel& model) {
    Session roomy = model.session(100);
    const auto expected = logits_of(roomy, tokens, 5);
    Session short_one = model.session(5);
    CHECK(relative_error(logits_of(short_one, tokens, 2, 2), expected) < 1e-5);
    CHECK_THROWS_AS(short_one.decode(0), Error);

    Session single = model.session(1);
    const auto first = copied(single.decode(tokens[0]));
    CHECK(relative_error(first, std::span(expected).first(first.size())) < 1e-5);
    CHECK_THROWS_AS(single.decode(tokens[1]), Error);
    single.reset();
    CHECK(copied(single.decode(tokens[0])) == first);
  });
}

TEST_CASE("steps of many sizes do not pile up plans") {
  const TestModel model("l2a-qwen3-tiny");
  Session session = model.session(1000);
  std::size_t largest = 0, together = 0;
  for (std::int64_t size = 1; size <= 24; ++size) {
    session.step(some_tokens(static_cast<std::size_t>(size)), LogitsOf::last);
    const std::size_t arena = session.plan(size, LogitsOf::last).arena_bytes();
    largest = std::max(largest, arena);
    together += arena;
    // Decode, full chunks with and without logits, and a tail.
    CHECK(session.arena_bytes() <= 4 * largest);
  }
  CHECK(together > 4 * largest);
}

TEST_CASE("decode compiles its plan once") {
  const TestModel model("l2a-qwen3-widen");
  Session session = model.session(40, 8);
  session.prefill(some_tokens(20));
  session.decode(1);
  const Plan* const plan = &session.plan(1, LogitsOf::last);
  const std::size_t bytes = session.arena_bytes();
  for (Token token = 0; token < 10; ++token) session.decode(token);
  CHECK(&session.plan(1, LogitsOf::last) == plan);
  CHECK(session.arena_bytes() == bytes);
}

TEST_CASE("steps tell the time of their ops while they are asked to, and compute the same") {
  const std::vector<Token> tokens = some_tokens(20);
  for_each_kind([&](const TestModel& model) {
    Session timed = model.session(40), untimed = model.session(40);
    OpTimes prefill, decode;
    timed.time_ops(&prefill);
    const auto first = copied(timed.prefill(tokens));
    CHECK(first == copied(untimed.prefill(tokens)));
    timed.time_ops(&decode);
    CHECK(copied(timed.decode(7)) == copied(untimed.decode(7)));
    timed.time_ops(nullptr);
    timed.decode(7);

    for (const OpTimes* times : {&prefill, &decode}) {
      CHECK(times->at("argmax").calls == 1);
      CHECK(times->at("attention").calls >= model.config().layers);
      // What is computed with another op has its calls, and its time is that op's.
      for (const auto& [name, time] : *times) CHECK(time.seconds >= 0);
      for (const char* own : {"matmul", "attention", "argmax"}) CHECK(times->at(own).seconds > 0);
    }
    // As many nodes as the plan has: nothing of the step that was not to be timed.
    std::int64_t calls = 0;
    for (const auto& [name, time] : decode) calls += time.calls;
    CHECK(calls == static_cast<std::int64_t>(timed.plan(1, LogitsOf::last).graph().nodes().size()));
    CHECK(prefill.at("matmul").cost.operations > 5 * decode.at("matmul").cost.operations);
  });
}

TEST_CASE("a forced share of tokens is routed, others in each layer, whatever the steps") {
  constexpr std::size_t kTokens = 600;
  const std::vector<Token> tokens = some_tokens(kTokens);
  for (const char* name : {"l2a-qwen3-pruned", "l2a-qwen3-widen"}) {
    CAPTURE(name);
    const TestModel model(name);
    const auto routed = [&](double share, std::size_t chunk) {
      SessionOptions options = f32_cache(kTokens);
      options.keep_routes = true;
      options.forced_share = share;
      Session session = model.session(options);
      std::vector<std::vector<std::int32_t>> by_layer;
      for (std::size_t begin = 0; begin < kTokens; begin += chunk) {
        const auto piece = std::span(tokens).subspan(begin, std::min(chunk, kTokens - begin));
        const Evaluation step = session.step(piece, LogitsOf::last);
        by_layer.resize(step.routes.size());
        for (std::size_t i = 0; i < by_layer.size(); ++i) {
          for (const std::int32_t t : step.routes[i])
            by_layer[i].push_back(t + static_cast<std::int32_t>(begin));
        }
      }
      CHECK(session.routing().share() ==
            doctest::Approx(std::accumulate(by_layer.begin(), by_layer.end(), 0.0,
                                            [](double sum, const auto& list) {
                                              return sum + static_cast<double>(list.size());
                                            }) /
                            static_cast<double>(kTokens * by_layer.size())));
      return by_layer;
    };
    const auto fifth = routed(0.2, 600);
    CHECK(fifth == routed(0.2, 77));
    REQUIRE(fifth.size() >= 2);
    CHECK(fifth[0] != fifth[1]);
    for (const auto& list : fifth) {
      CHECK(static_cast<double>(list.size()) > 0.15 * kTokens);
      CHECK(static_cast<double>(list.size()) < 0.25 * kTokens);
    }
    for (const auto& list : routed(0, 600)) CHECK(list.empty());
    for (const auto& list : routed(1, 600)) CHECK(list.size() == kTokens);
  }
  const TestModel dense("qwen3-tiny");  // has nothing to force
  SessionOptions options = f32_cache(10);
  options.forced_share = 0.5;
  Session forced = dense.session(options), plain = dense.session(10);
  CHECK(logits_of(forced, std::span(tokens).first(10), 4) ==
        logits_of(plain, std::span(tokens).first(10), 4));
  for (const double bad : {-0.1, 1.1, std::nan("")}) {
    options.forced_share = bad;
    CHECK(contains(message_of<Error>([&] { dense.session(options); }), "from 0 to 1"));
  }
}

TEST_CASE("routes can be said token by token, and a cut can stand in for the model's") {
  constexpr std::size_t kTokens = 60;
  const std::vector<Token> tokens = some_tokens(kTokens);
  const TestModel model("l2a-llama-widen");
  SessionOptions options = f32_cache(kTokens);
  options.keep_routes = true;
  options.forced_routes = [](std::int64_t layer, std::int64_t position) {
    return (position + layer) % 3 == 0;
  };
  Session session = model.session(options);
  for (const std::size_t begin : {0U, 37U}) {
    const std::size_t count = begin == 0 ? 37 : kTokens - 37;
    const Evaluation step = session.step(std::span(tokens).subspan(begin, count), LogitsOf::last);
    for (std::size_t layer = 0; layer < step.routes.size(); ++layer) {
      std::vector<std::int32_t> expected;
      for (std::size_t t = 0; t < count; ++t) {
        if ((begin + t + layer) % 3 == 0) expected.push_back(static_cast<std::int32_t>(t));
      }
      CHECK(step.routes[layer] == expected);
    }
  }
  SessionOptions cut = f32_cache(kTokens);
  cut.router_cut = std::numeric_limits<float>::infinity();
  Session none = model.session(cut);
  logits_of(none, tokens, kTokens);
  CHECK(none.routing().share() == 0);
  cut.router_cut = -std::numeric_limits<float>::infinity();
  Session all = model.session(cut);
  logits_of(all, tokens, kTokens);
  CHECK(all.routing().share() == 1);
}

TEST_CASE("one layer alone can be narrowed, as if only its tokens were not routed") {
  constexpr std::size_t kTokens = 60;
  const std::vector<Token> tokens = some_tokens(kTokens);
  const TestModel model("l2a-llama-widen");
  const L2aConfig& l2a = *model.config().l2a;
  for (std::int64_t narrow = -1; narrow < model.config().layers; ++narrow) {
    CAPTURE(narrow);
    SessionOptions options = f32_cache(kTokens);
    options.narrowing = {l2a.window, l2a.sinks, narrow};
    Session session = model.session(options);
    SessionOptions forced = f32_cache(kTokens);
    forced.forced_routes = [&](std::int64_t layer, std::int64_t) { return layer != narrow; };
    Session expected = model.session(forced);
    CHECK(logits_of(session, tokens, 17) == logits_of(expected, tokens, 17));
  }
}

TEST_CASE("narrowing shows both attentions of every layer, and the model goes on with all keys") {
  constexpr std::size_t kTokens = 50;
  constexpr std::int64_t kWindow = 12, kSinks = 3;
  const std::vector<Token> tokens = some_tokens(kTokens);
  for (const char* name : {"qwen2-tiny", "l2a-llama-widen", "llama-tiny"}) {
    CAPTURE(name);
    const TestModel model(name);
    SessionOptions options = f32_cache(kTokens);
    options.narrowing = {kWindow, kSinks};
    std::int64_t calls = 0;
    options.observe_narrowed = [&](const NarrowedAttention& step) {
      ++calls;
      const auto width = static_cast<std::size_t>(step.hidden);
      for (std::size_t t = 0; t < step.x.size() / width; ++t) {
        const bool same = std::ranges::equal(step.all.subspan(t * width, width),
                                             step.narrow.subspan(t * width, width));
        const std::int64_t position = step.first + static_cast<std::int64_t>(t);
        if (position < kWindow) CHECK(same);
        if (position >= kWindow + kSinks) CHECK_FALSE(same);
      }
    };
    Session session = model.session(options);
    const auto logits = logits_of(session, tokens, 17);
    CHECK(calls == model.config().layers * 3);
    SessionOptions plain = f32_cache(kTokens);
    if (model.config().l2a) plain.forced_share = 1;
    Session dense = model.session(plain);
    CHECK(logits == logits_of(dense, tokens, 17));
  }
  SessionOptions options = f32_cache(kTokens);
  options.narrowing = {kWindow, kSinks};
  for (const char* name : {"l2a-qwen3-tiny", "l2a-qwen3-pruned"}) {
    CHECK(contains(message_of<Error>([&] { TestModel(name).session(options); }), "every layer"));
  }
}

TEST_CASE("a q8_0 cache is smaller, nearly as good, and the same for chunks of any size") {
  const std::vector<Token> tokens = some_tokens(40);
  for_each_kind([&](const TestModel& model) {
    if (model.config().head_dim % 32 != 0) return;
    SessionOptions options = f32_cache(40);
    options.forced_share = 1;  // a routing decision is discrete: rounding may turn it
    if (!model.config().l2a) options.forced_share.reset();
    Session exact = model.session(options);
    options.cache_dtype = Dtype::q8_0;
    Session small = model.session(options), chunked = model.session(options);
    const auto logits = logits_of(small, tokens, 40);
    CHECK(test::relative_error(logits, logits_of(exact, tokens, 40)) < 0.03);
    // Keys that differ in the last bit may round to another code.
    CHECK(test::relative_error(logits_of(chunked, tokens, 7, 12), logits) < 2e-3);
    CHECK(small.cache_bytes().total() * 128 == exact.cache_bytes().total() * 34);
  });
}

TEST_CASE("a q8_0 cache needs heads of whole blocks") {
  ModelConfig config;
  config.layers = config.kv_heads = 1;
  config.head_dim = 80;
  const Placement placement{make_cpu_backend(), {}};
  CHECK(contains(message_of<Error>([&] { KvCaches(config, placement, Dtype::q8_0, 8); }),
                 "whole blocks of 32 values; this model's have 80"));
}

TEST_CASE("a depth that is assumed costs what a real one does, and leaves nothing behind") {
  const std::vector<Token> tokens = some_tokens(12);
  for_each_kind([&](const TestModel& model) {
    for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::q8_0}) {
      if (model.config().head_dim % dtype_info(dtype).block_elements != 0) continue;
      SessionOptions options = f32_cache(600);
      options.cache_dtype = dtype;
      Session session = model.session(options);
      session.assume(500);
      CHECK(session.position() == 500);
      CHECK(session.cache_bytes().total() == cache_bytes(model.config(), dtype, 500).total());
      CHECK(session.routing().tokens == 0);
      const auto first = logits_of(session, tokens, 5, 2);
      for (const float logit : first) CHECK(std::isfinite(logit));
      CHECK(session.position() == 512);
      CHECK(session.routing().tokens == 12);
      // What the caches hold is seen: at another depth the same tokens give something else.
      session.assume(3);
      CHECK(logits_of(session, tokens, 5, 2) != first);

      session.reset();
      Session fresh = model.session(options);
      CHECK(logits_of(session, tokens, 5, 2) == logits_of(fresh, tokens, 5, 2));
      CHECK_THROWS_AS(session.assume(601), Error);
    }
  });
}

TEST_CASE("a session can keep what every node computes, and then computes the same") {
  const std::vector<Token> tokens = some_tokens(20);
  for_each_kind([&](const TestModel& model) {
    SessionOptions options = f32_cache(20);
    options.keep_everything = true;
    Session keeping = model.session(options), plain = model.session(20);
    CHECK(copied(keeping.step(tokens, LogitsOf::last)) ==
          copied(plain.step(tokens, LogitsOf::last)));
    const Plan& plan = keeping.plan(20, LogitsOf::last);
    CHECK(plan.graph().nodes().size() == plain.plan(20, LogitsOf::last).graph().nodes().size());
    for (const Node& node : plan.graph().nodes()) {
      const Value& value = plan.graph().value(node.output);
      std::vector<std::byte> bytes(dtype_bytes(value.info.dtype, value.info.shape.elements()));
      plan.read({node.output}, std::span(bytes));
      CHECK(std::any_of(bytes.begin(), bytes.end(), [](std::byte b) { return b != std::byte{0}; }));
    }
  });
}

TEST_CASE("a session's settings are checked") {
  const TestModel model("qwen3-tiny");
  const auto message = [&](std::int64_t context, std::int64_t chunk, Dtype cache) {
    SessionOptions options;
    options.context = context;
    options.chunk = chunk;
    options.cache_dtype = cache;
    return message_of<Error>([&] { model.session(options); });
  };
  CHECK(contains(message(10, 0, Dtype::f16), "a prefill chunk has at least 1 token, not 0"));
  CHECK(contains(message(-1, 8, Dtype::f16), "a context holds at least 1 token, not -1"));
  // Positions are 32-bit.
  CHECK(contains(message(std::int64_t{1} << 31, 8, Dtype::f16), "at most 2147483647 tokens"));
  CHECK(contains(message(INT64_MAX, 8, Dtype::f16), "at most 2147483647 tokens"));
  CHECK(contains(message(10, 8, Dtype::q4_0), "f32, f16, bf16 or q8_0, not q4_0"));
  CHECK(contains(message(10, 8, Dtype::i32), "f32, f16, bf16 or q8_0, not i32"));
  SessionOptions trained;
  trained.context = 0;
  CHECK(model.session(trained).context() == model.config().context);
}

}  // namespace
}  // namespace l2a::test
