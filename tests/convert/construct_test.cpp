// From one file to another: GGUF to GGUF, dense to L2A, pruned.
#include "convert/construct.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "backends/cpu/cpu_backend.h"
#include "graph/error.h"
#include "tests/models/test_model.h"

namespace l2a {
namespace {

using test::checkpoint;
using test::contains;
using test::message_of;
using test::TemporaryFolder;

ConvertResult write(const Checkpoint& source, const std::filesystem::path& target,
                    std::string_view recipe = "f32") {
  WriteOptions options;
  options.target = target;
  options.recipe = find_recipe(recipe);
  return write_gguf(source, options);
}

std::vector<float> logits_of(const std::filesystem::path& file,
                             const std::shared_ptr<Backend>& backend) {
  SessionOptions options;
  options.context = 40;
  options.cache_dtype = Dtype::f32;
  Session session(Model::load(GgufFile::open(file), backend), backend, {}, options);
  return test::logits_of(session, test::some_tokens(40), 40);
}

TEST_CASE("a GGUF file written again in its own types is the same file, byte for byte") {
  const TemporaryFolder folder;
  for (const char* name : {"qwen3-tiny", "llama-tiny", "l2a-qwen3-pruned", "l2a-llama-widen"}) {
    for (const char* recipe : {"f32", "f16", "q8_0", "q4_0"}) {
      CAPTURE(name);
      CAPTURE(recipe);
      write(open_hf_checkpoint(checkpoint(name)), folder / "a.gguf", recipe);
      write(open_gguf_checkpoint(folder / "a.gguf"), folder / "b.gguf", recipe);
      CHECK(test::read_file(folder / "a.gguf") == test::read_file(folder / "b.gguf"));
    }
  }
}

TEST_CASE("quantizing an f32 file gives what quantizing its checkpoint gives") {
  const TemporaryFolder folder;
  write(open_hf_checkpoint(checkpoint("l2a-qwen3-tiny")), folder / "f32.gguf");
  for (const char* recipe : {"q4_0", "q5_1", "q8_0"}) {
    write(open_hf_checkpoint(checkpoint("l2a-qwen3-tiny")), folder / "a.gguf", recipe);
    write(open_gguf_checkpoint(folder / "f32.gguf"), folder / "b.gguf", recipe);
    CHECK(test::read_file(folder / "a.gguf") == test::read_file(folder / "b.gguf"));
  }
}

TEST_CASE("one thread and several write the same bytes") {
  const TemporaryFolder folder;
  const Checkpoint source = open_hf_checkpoint(checkpoint("l2a-qwen3-sparse-bf16"));
  std::string first;
  for (const int threads : {1, 2, 5}) {
    WriteOptions options;
    options.target = folder / "a.gguf";
    options.recipe = find_recipe("q4_1");
    options.threads = threads;
    write_gguf(source, options);
    if (first.empty()) first = test::read_file(folder / "a.gguf");
    CHECK(test::read_file(folder / "a.gguf") == first);
  }
}

TEST_CASE(
    "an L2A model made of a dense one routes every token, and with its global output zero is the "
    "dense model") {
  const TemporaryFolder folder;
  const auto backend = make_cpu_backend({2, std::nullopt});
  for (const char* name : {"qwen2-tiny", "qwen3-tiny", "llama-tiny"}) {
    CAPTURE(name);
    write(open_hf_checkpoint(checkpoint(name)), folder / "dense.gguf");
    const std::vector<float> dense = logits_of(folder / "dense.gguf", backend);

    L2aConstruction construction;
    construction.window = 64;
    construction.zero_global_output = true;
    Checkpoint silent = open_gguf_checkpoint(folder / "dense.gguf");
    make_l2a(silent, construction);
    write(silent, folder / "silent.gguf");
    CHECK(test::relative_error(logits_of(folder / "silent.gguf", backend), dense) < 1e-6);

    construction.zero_global_output = false;
    Checkpoint copied = open_hf_checkpoint(checkpoint(name));  // from the folder just as well
    make_l2a(copied, construction);
    write(copied, folder / "copied.gguf");
    const auto model = Model::load(GgufFile::open(folder / "copied.gguf"), backend);
    CHECK(model->config().architecture ==
          concat("l2a-", open_gguf_checkpoint(folder / "dense.gguf").config.architecture));
    Session session(model, backend, {}, {});
    session.step(std::vector<Token>{1, 2, 3, 4}, LogitsOf::none);
    CHECK(session.routing().share() == 1.0);

    L2aConstruction widening;
    widening.mode = L2aMode::widen;
    widening.window = 8;
    widening.sinks = 2;
    Checkpoint wide = open_gguf_checkpoint(folder / "dense.gguf");
    make_l2a(wide, widening);
    write(wide, folder / "wide.gguf");
    CHECK(logits_of(folder / "wide.gguf", backend) == dense);
  }
}

TEST_CASE("the global branch is a copy of the local one, the router zero") {
  Checkpoint model = open_hf_checkpoint(checkpoint("qwen3-tiny"));
  const std::size_t dense = model.tensors.size();
  make_l2a(model, {});
  // A norm, four matrices, two head norms and a router for each of three layers.
  CHECK(model.tensors.size() == dense + 3 * 8);
  const auto find = [&](std::string_view name) {
    const auto found =
        std::find_if(model.tensors.begin(), model.tensors.end(),
                     [&](const SourceTensor& tensor) { return tensor.name == name; });
    REQUIRE(found != model.tensors.end());
    std::vector<float> values(static_cast<std::size_t>(found->rows() * found->row_length()));
    found->read(0, values);
    return values;
  };
  CHECK(find("blk.1.attn_q_global.weight") == find("blk.1.attn_q.weight"));
  CHECK(find("blk.2.attn_norm_global.weight") == find("blk.2.attn_norm.weight"));
  CHECK(find("blk.0.attn_k_norm_global.weight") == find("blk.0.attn_k_norm.weight"));
  CHECK(find("blk.0.attn_router.weight") == std::vector<float>(64, 0.0f));
}

TEST_CASE("pruned layers lose router, global branch and cache, and nothing else") {
  const TemporaryFolder folder;
  Checkpoint model = open_hf_checkpoint(checkpoint("l2a-qwen2-tiny"));
  const std::size_t before = model.tensors.size();
  prune_layers(model, std::vector<std::int64_t>{3, 1});
  CHECK(before - model.tensors.size() == 2 * 9);  // norm, four matrices, three biases, router
  write(model, folder / "pruned.gguf");
  const ModelConfig config = ModelConfig::from_gguf(*GgufFile::open(folder / "pruned.gguf"));
  CHECK(config.l2a->global_layers == std::vector<bool>{true, false, true, false});
  Model::load(GgufFile::open(folder / "pruned.gguf"), make_cpu_backend({1, std::nullopt}));
}

TEST_CASE("what cannot be made is refused by name") {
  const auto refusal = [](const char* name, auto change) {
    Checkpoint model = open_hf_checkpoint(checkpoint(name));
    return message_of<Error>([&] { change(model); });
  };
  const auto with = [&](auto edit) {
    return refusal("qwen3-tiny", [&](Checkpoint& model) {
      L2aConstruction construction;
      edit(construction);
      make_l2a(model, construction);
    });
  };
  CHECK(contains(refusal("l2a-qwen3-tiny", [](Checkpoint& m) { make_l2a(m, {}); }),
                 "is an L2A model already"));
  CHECK(contains(with([](L2aConstruction& c) { c.window = 0; }), "at least 1 token, not 0"));
  CHECK(contains(with([](L2aConstruction& c) { c.sinks = 4; }), "4 sinks"));
  CHECK(contains(with([](L2aConstruction& c) { c.threshold = 1; }), "between 0 and 1"));
  CHECK(contains(with([](L2aConstruction& c) { c.temperature = 0; }), "above 0"));
  const std::vector<std::int64_t> one = {1}, beyond = {3};
  CHECK(contains(refusal("qwen3-tiny", [&](Checkpoint& m) { prune_layers(m, one); }),
                 "is a dense model"));
  CHECK(contains(refusal("l2a-qwen3-tiny", [&](Checkpoint& m) { prune_layers(m, beyond); }),
                 "layers 0 to 2"));
  CHECK(contains(refusal("l2a-qwen3-pruned", [&](Checkpoint& m) { prune_layers(m, one); }),
                 "pruned already"));
  CHECK(contains(refusal("qwen3-tiny", [](Checkpoint& m) { set_rope_base(m, 0.5); }), "above 1"));
  CHECK(contains(refusal("qwen3-tiny", [](Checkpoint& m) { set_context(m, 0); }), "1 to "));
}

}  // namespace
}  // namespace l2a
