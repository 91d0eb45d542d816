// A Vulkan backend under the validation layer, whose messages are failures of the test.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "backends/vulkan/vulkan_backend.h"
#include "tests/backends/conformance.h"
#include "tests/temporary_folder.h"

namespace l2a::test {

// That make_vulkan_backend takes where it is not told.
inline VulkanDeviceInfo first_vulkan_device() {
  const std::vector<VulkanDeviceInfo> devices = list_vulkan_devices();
  const auto first = [&](bool gpu) {
    return std::find_if(devices.begin(), devices.end(), [&](const VulkanDeviceInfo& one) {
      return one.missing.empty() && (one.gpu || !gpu);
    });
  };
  const auto found = first(true) != devices.end() ? first(true) : first(false);
  return found != devices.end() ? *found : VulkanDeviceInfo{};
}

// Where cooperative matrices are used: of 11 bits, activations keep half a unit in 2^-11, which is 2.5e-4 of one; so
// do weights that are not f16 themselves. Errors average out over a row; short ones have little to average.
inline constexpr Tolerances kCooperative{.f16 = 5e-4, .bf16 = 5e-4};

class ValidatedBackend {
 public:
  explicit ValidatedBackend(VulkanOptions options = {}) {
    options.validation_messages = &messages_;
    options.cache_folder = (cache_ / "pipelines").string();
    backend_ = make_vulkan_backend(options);
  }
  ~ValidatedBackend() {
    backend_.reset();  // so that leaks are among the messages
    for (const std::string& message : messages_) CHECK_MESSAGE(false, message);
  }

  const std::shared_ptr<Backend>& backend() const { return backend_; }

 private:
  TemporaryFolder cache_;
  std::vector<std::string> messages_;
  std::shared_ptr<Backend> backend_;
};

}  // namespace l2a::test
