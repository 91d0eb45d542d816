// Every op on Vulkan against the reference code, under the validation layer: any message from it fails.
#include "tests/backends/conformance.h"

#include <doctest/doctest.h>

#include "tests/backends/vulkan/validated_backend.h"

using namespace l2a;

namespace {

// On a CPU it multiplies quantized weights with activations as they are, on a GPU with rounded ones.
constexpr test::Tolerances kExact{.quantized = 1e-5};

// What a device may round when it acts as a GPU.
test::Tolerances as_gpu(const VulkanDeviceInfo& device) {
  return device.cooperative ? test::kCooperative : test::Tolerances{};
}

void check_conformance(const VulkanOptions& options, const test::Tolerances& tolerances) {
  test::ValidatedBackend vulkan(options);
  const test::ConformanceSubject subjects[] = {{"vulkan", vulkan.backend(), tolerances}};
  test::check_conformance(test::conformance_cases(), subjects);
}

}  // namespace

TEST_CASE("the Vulkan backend computes what the reference code computes") {
  const VulkanDeviceInfo device = test::first_vulkan_device();
  check_conformance({}, device.gpu ? as_gpu(device) : kExact);
}

TEST_CASE("so it does shaped as for a GPU, with memory that the host cannot map") {
  VulkanOptions options;
  options.tune_as_gpu = true;
  options.map_memory = false;
  check_conformance(options, as_gpu(test::first_vulkan_device()));
}
