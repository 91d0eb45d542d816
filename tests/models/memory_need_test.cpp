#include "models/memory_need.h"

#include <doctest/doctest.h>

#include "ops/reference_backend.h"
#include "tests/models/test_model.h"

namespace l2a::test {
namespace {

TEST_CASE("as many layers fit as their bytes and a step's leave room for, the last ones first") {
  const MemoryNeed need{100, {10, 20, 30}, 5, 60, 25};
  CHECK(need.total() == 165);
  const auto fit = [&](std::uint64_t bytes) { return layers_that_fit(need, {bytes, 60}); };
  CHECK(fit(165) == 4);
  CHECK(fit(164) == 3);
  CHECK(fit(65) == 3);
  CHECK(fit(64) == 2);
  CHECK(fit(35) == 1);
  CHECK(fit(34) == 0);
  CHECK(fit(0) == 0);
}

TEST_CASE("what one buffer of the device cannot hold stays on the host") {
  const MemoryNeed need{100, {10, 20, 30}, 5, 60, 25};
  CHECK(layers_that_fit(need, {1000, 59}) == 3);
  CHECK(layers_that_fit(need, {1000, 25}) == 3);
  CHECK(layers_that_fit(need, {1000, 24}) == 0);
}

TEST_CASE("what a model needs is its weights, its caches at the whole context, and a step") {
  const TemporaryFolder folder;
  const std::shared_ptr<Backend> backend = make_reference_backend();
  for (const std::string name : {"qwen3-tiny", "l2a-qwen3-pruned", "l2a-qwen3-widen"}) {
    CAPTURE(name);
    const auto file = convert_to(folder / "model.gguf", checkpoint(name));
    const auto model = Model::load(file, backend);
    SessionOptions options;
    options.context = 40;
    options.chunk = 16;
    options.cache_dtype = Dtype::f32;
    const MemoryNeed need = memory_need(*file, model->config(), options);
    CHECK(static_cast<std::int64_t>(need.layers.size()) == model->config().layers);
    std::uint64_t file_bytes = 0;
    for (const GgufTensor& tensor : file->tensors()) file_bytes += tensor.data.size();
    CHECK(need.outer_buffer == file->find_tensor("token_embd.weight")->data.size());
    CHECK(need.total() - need.step ==
          file_bytes + cache_bytes(model->config(), Dtype::f32, 40).total());
    // An upper bound of what a step takes beside them.
    for (const LogitsOf logits : {LogitsOf::last, LogitsOf::all}) {
      Session session(model, backend, {}, options);
      session.step(some_tokens(16), logits);
      const MemoryNeed with_step = memory_need(*file, model->config(), options, logits);
      CHECK(session.arena_bytes() <= with_step.step);
      CHECK(session.arena_bytes() * 4 >= with_step.step);
    }
  }
}

TEST_CASE("what narrowing keeps of every layer is counted") {
  const TemporaryFolder folder;
  const std::shared_ptr<Backend> backend = make_reference_backend();
  const auto file = convert_to(folder / "model.gguf", checkpoint("qwen3-tiny"));
  const auto model = Model::load(file, backend);
  SessionOptions options;
  options.context = 40;
  options.chunk = 16;
  const std::uint64_t plain = memory_need(*file, model->config(), options).total();
  options.narrowing = {4, 1};
  const MemoryNeed need = memory_need(*file, model->config(), options);
  const std::uint64_t kept = need.total() - plain;
  CHECK(kept ==
        static_cast<std::uint64_t>(4 * 16 * model->config().hidden * 4 * model->config().layers));
  Session session(model, backend, {}, options);
  session.step(some_tokens(16), LogitsOf::last);
  CHECK(session.arena_bytes() > kept);
  CHECK(session.arena_bytes() <= need.step + kept);
}

}  // namespace
}  // namespace l2a::test
