// A Vulkan backend under the validation layer, whose messages are failures of the test.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <string>
#include <vector>

#include "backends/vulkan/vulkan_backend.h"
#include "tests/temporary_folder.h"

namespace l2a::test {

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
