// The decoders end to end, against outputs of the paper's released code (l2a-qwen3-tiny, l2a-qwen3-sparse-bf16), of
// HF transformers (dense) and of the numpy statement of the model (the rest).
#include <doctest/doctest.h>

#include "backends/cpu/cpu_backend.h"
#include "ops/reference_backend.h"
#include "tests/gpu_backends.h"
#include "tests/models/checkpoint_run.h"
#include "tests/sanitizers.h"

using namespace l2a;
using namespace l2a::test;
namespace fs = std::filesystem;

namespace {

// Every GPU that is here, and the CPU at each of its levels.
std::vector<std::shared_ptr<Backend>> fast_backends() {
  std::vector<std::shared_ptr<Backend>> backends = test::gpu_backends();
  for (const SimdLevel level : simd_levels()) {
    // Plain loops take minutes under sanitizers, for what the conformance suite has them do there already.
    if (kAddressSanitizer && level == SimdLevel::generic) continue;
    backends.push_back(make_cpu_backend({2, level}));
  }
  return backends;
}

}  // namespace

TEST_CASE(
    "every checkpoint gives the expected logits and routes, in one chunk, in sevens and token by "
    "token") {
  const test::TemporaryFolder folder;
  REQUIRE(checkpoints().size() == 11);
  std::vector<std::shared_ptr<Backend>> backends = fast_backends();
  backends.push_back(make_reference_backend());
  for (const auto& backend : backends) {
    for (const fs::path& checkpoint : checkpoints()) {
      CAPTURE(backend->name());
      CAPTURE(checkpoint.filename().string());
      const Expected expected = load_expected(checkpoint);
      const auto model = test::load_checkpoint(folder, checkpoint.filename().string(), backend);
      const std::size_t count = expected.tokens.size();
      struct Split {
        std::size_t chunk, decoded;
      };
      for (const Split split :
           {Split{count, 0}, Split{7, 0}, Split{7, count / 2}, Split{count, count / 2}}) {
        CAPTURE(split.chunk);
        CAPTURE(split.decoded);
        const CheckpointRun run =
            run_model(model, backend, expected.tokens, split.chunk, split.decoded, Dtype::f32);
        REQUIRE(run.logits.size() == expected.logits.size());
        CHECK(test::relative_error(run.logits, expected.logits) < 1e-4);
        CHECK(run.routes == expected.routes);
      }
    }
  }
}

TEST_CASE("with an f16 cache the size of chunks changes nothing beyond rounding") {
  const test::TemporaryFolder folder;
  for (const auto& backend : fast_backends())
    for (const std::string name :
         {"l2a-qwen3-tiny", "l2a-qwen3-pruned", "l2a-llama-widen", "qwen3-tiny"}) {
      CAPTURE(name);
      const fs::path checkpoint = fs::path(L2A_TEST_DATA) / "checkpoints" / name;
      const Expected expected = load_expected(checkpoint);
      const auto model = test::load_checkpoint(folder, name, backend);
      const std::size_t count = expected.tokens.size();
      const CheckpointRun whole = run_model(model, backend, expected.tokens, count, 0, Dtype::f16);
      const CheckpointRun sevens =
          run_model(model, backend, expected.tokens, 7, count / 2, Dtype::f16);
      // Sums in another order may round a cached value to the other neighbour: 2^-11 of it.
      CHECK(test::relative_error(sevens.logits, whole.logits) < 3e-4);
      CHECK(test::relative_error(whole.logits, expected.logits) < 2e-3);
    }
}
