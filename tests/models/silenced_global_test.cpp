// Dense checkpoints turned into L2A ones that must compute the same: the add form with a global
// branch that says nothing, the widen form with a router that sends every token or none.
#include <doctest/doctest.h>

#include <random>

#include "backends/cpu/cpu_backend.h"
#include "graph/error.h"
#include "tests/models/edited_gguf.h"
#include "tests/models/test_model.h"

namespace l2a::test {
namespace {

enum class Router { random, always, never };

struct Dense {
  explicit Dense(std::string_view name)
      : file(convert_to(folder / "dense.gguf", checkpoint(name))),
        model(Model::load(file, backend)) {}

  std::shared_ptr<const Model> edited(const EditedGguf& gguf) const {
    gguf.write(folder / "edited.gguf");
    return Model::load(GgufFile::open(folder / "edited.gguf"), backend);
  }

  TemporaryFolder folder;
  std::shared_ptr<Backend> backend = make_cpu_backend({2, std::nullopt});
  std::shared_ptr<const GgufFile> file;
  std::shared_ptr<const Model> model;
};

constexpr const char* kFamilies[] = {"qwen3-tiny", "qwen2-tiny", "llama-tiny"};

// The l2a- form of a dense file: its settings and a router for each layer. No weight at all with a
// threshold of 1/2 is the logit 0 against the cut 0, and equality routes.
class L2aForm {
 public:
  L2aForm(const Dense& dense, std::int64_t window, Router router)
      : gguf(*dense.file), layers_(dense.model->config().layers), random_(20260317) {
    gguf.rename_architecture("l2a-" + gguf.architecture());
    gguf.set(gguf.key("attention.sliding_window"), window);
    gguf.set(gguf.key("l2a.router.temperature"), 0.1);
    gguf.set(gguf.key("l2a.router.threshold"), router == Router::never ? 0.97 : 0.5);
    const std::int64_t width = gguf.number("embedding_length");
    for (std::int64_t layer = 0; layer < layers_; ++layer) {
      const auto name = concat("blk.", layer, ".attn_router.weight");
      put(name, {1, width}, router == Router::random ? 1.0f : 0.0f);
    }
  }

  // A global branch for each layer: every tensor of the local one, at random, and an output of zero.
  void add_silenced_globals() {
    for (std::int64_t layer = 0; layer < layers_; ++layer) {
      const std::string block = concat("blk.", layer, ".attn_");
      for (const char* part : {"norm", "q", "k", "v", "q_norm", "k_norm", "output"}) {
        for (const char* kind : {".weight", ".bias"}) {
          const std::string local = block + part + kind;
          if (!gguf.has_tensor(local)) continue;
          const bool output = std::string_view(part) == "output";
          put(block + part + "_global" + kind, gguf.shape(local), output ? 0.0f : 1.0f);
        }
      }
    }
  }

  void widen(std::int64_t sinks) {
    gguf.set(gguf.key("l2a.mode"), "widen");
    gguf.set(gguf.key("l2a.sinks"), sinks);
  }
  void prune_all() {
    gguf.set(gguf.key("l2a.global_layers"), std::vector<bool>(static_cast<std::size_t>(layers_)));
  }

  EditedGguf gguf;

 private:
  void put(const std::string& name, const std::vector<std::int64_t>& shape, float scale) {
    std::int64_t count = 1;
    for (const std::int64_t extent : shape) count *= extent;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values)
      value = scale * (static_cast<float>(random_() >> 8) * 0x1p-23f - 1.0f);
    gguf.set_tensor(name, shape, values);
  }

  std::int64_t layers_;
  std::mt19937 random_;
};

struct Split {
  std::size_t chunk, decoded;
};
// In one chunk, in chunks of 7, and the second half token by token.
constexpr std::size_t kTokens = 40;
constexpr Split kSplits[] = {{kTokens, 0}, {7, 0}, {7, kTokens / 2}};

struct Ran {
  std::vector<float> logits;
  double share;
};
Ran run(const Dense& dense, const std::shared_ptr<const Model>& model, const Split& split,
        std::int64_t context) {
  SessionOptions options;
  options.context = context;
  options.cache_dtype = Dtype::f32;
  Session session(model, dense.backend, {}, options);
  auto logits = logits_of(session, some_tokens(kTokens), split.chunk, split.decoded);
  return {std::move(logits), session.routing().share()};
}

TEST_CASE(
    "a dense model turned into an L2A one whose global branch is silenced (output weights zero) "
    "gives the dense logits for prompts shorter than W, whatever the router says") {
  for (const std::string name : kFamilies) {
    CAPTURE(name);
    const Dense dense(name);
    for (const Router router : {Router::random, Router::always, Router::never}) {
      CAPTURE(static_cast<int>(router));
      L2aForm form(dense, kTokens + 2, router);
      form.add_silenced_globals();
      const auto model = dense.edited(form.gguf);
      for (const Split& split : kSplits) {
        CAPTURE(split.chunk);
        CAPTURE(split.decoded);
        const Ran expected = run(dense, dense.model, split, kTokens);
        // A context within the window keeps every position, one beyond it a ring.
        for (const std::int64_t context : {kTokens, 4 * kTokens}) {
          CAPTURE(context);
          const Ran actual = run(dense, model, split, context);
          CHECK(relative_error(actual.logits, expected.logits) < 1e-6);
          if (router == Router::always) CHECK(actual.share == 1);
          if (router == Router::never) CHECK(actual.share == 0);
          if (router == Router::random) CHECK((actual.share > 0.1 && actual.share < 0.9));
        }
      }
    }
  }
}

TEST_CASE("a global branch that is not silenced changes the logits of routed tokens") {
  // Without this the test above could pass with a global branch that is never run.
  const Dense dense("qwen3-tiny");
  L2aForm form(dense, kTokens + 2, Router::always);
  form.add_silenced_globals();
  const std::vector<float> ones(static_cast<std::size_t>(64 * 128), 0.01f);
  form.gguf.set_tensor("blk.0.attn_output_global.weight", {64, 128}, ones);
  const auto model = dense.edited(form.gguf);
  const auto expected = run(dense, dense.model, kSplits[0], kTokens).logits;
  CHECK(relative_error(run(dense, model, kSplits[0], kTokens).logits, expected) > 1e-3);
}

TEST_CASE("widening with every token routed is the dense model bit for bit") {
  for (const std::string name : kFamilies) {
    CAPTURE(name);
    const Dense dense(name);
    L2aForm form(dense, 5, Router::always);
    form.widen(2);
    const auto model = dense.edited(form.gguf);
    for (const Split& split : kSplits) {
      CAPTURE(split.chunk);
      CAPTURE(split.decoded);
      const Ran actual = run(dense, model, split, kTokens);
      CHECK(actual.share == 1);
      CHECK(actual.logits == run(dense, dense.model, split, kTokens).logits);
    }
  }
}

TEST_CASE("widening with no token routed is attention to the window and the sinks") {
  // A model with every layer pruned keeps a ring of just those, so it cannot see anything else.
  for (const std::string name : kFamilies) {
    CAPTURE(name);
    const Dense dense(name);
    for (const std::int64_t sinks : {0, 3}) {
      CAPTURE(sinks);
      L2aForm unrouted(dense, 5, Router::never), pruned(dense, 5, Router::never);
      unrouted.widen(sinks);
      pruned.widen(sinks);
      pruned.prune_all();
      const auto unrouted_model = dense.edited(unrouted.gguf);
      const auto pruned_model = dense.edited(pruned.gguf);
      for (const Split& split : kSplits) {
        CAPTURE(split.chunk);
        CAPTURE(split.decoded);
        const Ran actual = run(dense, unrouted_model, split, kTokens);
        CHECK(actual.share == 0);
        const auto windowed = run(dense, pruned_model, split, kTokens).logits;
        CHECK(relative_error(actual.logits, windowed) < 1e-6);
        // The window must matter, or this says nothing.
        CHECK(relative_error(windowed, run(dense, dense.model, split, kTokens).logits) > 1e-3);
      }
    }
  }
}

}  // namespace
}  // namespace l2a::test
