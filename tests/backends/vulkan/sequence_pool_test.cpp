// Several sequences in one step on Vulkan, with nothing to fall back on.
#include <doctest/doctest.h>

#include "tests/backends/vulkan/validated_backend.h"
#include "tests/models/pool_run.h"

using namespace l2a;
using namespace l2a::test;

namespace {

void check_pools(const VulkanOptions& options) {
  const TemporaryFolder folder;
  ValidatedBackend vulkan(options);
  for (const std::string name : kPoolModels) {
    CAPTURE(name);
    const auto model = load_checkpoint(folder, name, vulkan.backend());
    // Float sums of some hundred terms in another order.
    for (const std::int64_t slots : {1, 3, 8}) {
      CAPTURE(slots);
      check_pool(model, vulkan.backend(), pool_options(Dtype::f32), slots, 1e-4);
    }
    // And such a sum may round a cached value to the other neighbour: 2^-11 of it.
    check_pool(model, vulkan.backend(), pool_options(Dtype::f16), 3, 3e-4);
  }
}

}  // namespace

TEST_CASE("sequences that step together on Vulkan compute what each computes alone") {
  check_pools({});
}

TEST_CASE("so they do shaped as for a GPU, where nodes of a batch are joined") {
  VulkanOptions options;
  options.tune_as_gpu = true;
  check_pools(options);
}
