// Every op on Vulkan against the reference code, under the validation layer: any message from it fails.
#include "tests/backends/conformance.h"

#include <doctest/doctest.h>

#include "tests/backends/vulkan/validated_backend.h"

using namespace l2a;

TEST_CASE("the Vulkan backend computes what the reference code computes") {
  test::ValidatedBackend vulkan;
  for (const test::ConformanceCase& one : test::conformance_cases()) {
    const std::string difference = test::run_conformance(one, vulkan.backend());
    CHECK_MESSAGE(difference.empty(), one.name, ": ", difference);
  }
}
