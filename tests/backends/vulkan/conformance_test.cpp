// Every op on Vulkan against the reference code, under the validation layer: any message from it fails.
#include "tests/backends/conformance.h"

#include <doctest/doctest.h>

#include "tests/backends/vulkan/validated_backend.h"

using namespace l2a;

namespace {

// It multiplies quantized weights with activations as they are.
constexpr test::Tolerances kTolerances{.quantized = 1e-5};

void check_conformance(const VulkanOptions& options) {
  test::ValidatedBackend vulkan(options);
  for (const test::ConformanceCase& one : test::conformance_cases()) {
    const std::string difference = test::run_conformance(one, vulkan.backend(), kTolerances);
    CHECK_MESSAGE(difference.empty(), one.name, ": ", difference);
  }
}

}  // namespace

TEST_CASE("the Vulkan backend computes what the reference code computes") { check_conformance({}); }

TEST_CASE("so it does shaped as for a GPU, with memory that the host cannot map") {
  VulkanOptions options;
  options.tune_as_gpu = true;
  options.map_memory = false;
  check_conformance(options);
}
