// The decoders end to end on Vulkan, with nothing to fall back on.
#include <doctest/doctest.h>

#include "tests/backends/vulkan/validated_backend.h"
#include "tests/models/checkpoint_run.h"

using namespace l2a;
using namespace l2a::test;

namespace {

void check_checkpoints(const VulkanOptions& options) {
  const TemporaryFolder folder;
  ValidatedBackend vulkan(options);
  for (const std::filesystem::path& checkpoint : checkpoints()) {
    CAPTURE(checkpoint.filename().string());
    const Expected expected = load_expected(checkpoint);
    const auto model = load_checkpoint(folder, checkpoint.filename().string(), vulkan.backend());
    const std::size_t count = expected.tokens.size();
    const CheckpointRun exact =
        run_model(model, vulkan.backend(), expected.tokens, 7, count / 2, Dtype::f32);
    CHECK(relative_error(exact.logits, expected.logits) < 1e-4);
    CHECK(exact.routes == expected.routes);
    const CheckpointRun halves =
        run_model(model, vulkan.backend(), expected.tokens, count, 0, Dtype::f16);
    CHECK(relative_error(halves.logits, expected.logits) < 2e-3);
    CHECK(halves.routes == expected.routes);
  }
}

}  // namespace

TEST_CASE("every checkpoint gives the expected logits and routes on Vulkan") {
  check_checkpoints({});
}

TEST_CASE("so it does shaped as for a GPU, where nodes are joined") {
  VulkanOptions options;
  options.tune_as_gpu = true;
  check_checkpoints(options);
}
