#ifdef L2A_HAS_CUDA

#include "backends/cuda/cuda_backend.h"

#include <doctest/doctest.h>

#include <cstdlib>

#include "graph/error.h"
#include "tests/backends/conformance.h"
#include "tests/gpu_backends.h"

using namespace l2a;

TEST_CASE("the CUDA backend computes what the reference code computes") {
  // f16 and bf16 weights and caches meet activations and softmax weights rounded to their type: half a unit in the last
  // place, 2^-12 and 2^-9 of each, on top of which scores of some tens are exponents.
  const test::Tolerances tolerances{2e-3, 1.5e-2};
  for (const auto& backend : test::gpu_backends()) {
    // Some of them alone, as for a sanitizer.
    const char* only = std::getenv("L2A_CONFORMANCE_CASES");
    for (const test::ConformanceCase& one : test::conformance_cases()) {
      if (only != nullptr && one.name.find(only) == std::string::npos) continue;
      const std::string difference = test::run_conformance(one, backend, tolerances);
      CHECK_MESSAGE(difference.empty(), one.name, ": ", difference);
    }
  }
}

TEST_CASE("a CUDA device that is not there is an error that says so") {
  CHECK_THROWS_AS(make_cuda_backend({1000}), Error);
  CHECK_THROWS_AS(make_cuda_backend({-1}), Error);
}

TEST_CASE("CUDA memory that is not there is an error that says what was asked for") {
  for (const auto& backend : test::gpu_backends()) {
    CHECK_THROWS_WITH_AS(backend->allocate(std::size_t{1} << 50),
                         doctest::Contains("1125899906842624"), Error);
    CHECK_NOTHROW(backend->allocate(1 << 20));
  }
}

TEST_CASE("CUDA buffers hold what was written, whatever its size and place") {
  for (const auto& backend : test::gpu_backends()) {
    const std::size_t bytes = (std::size_t{9} << 20) + 13;  // more than one piece of a transfer
    const auto buffer = backend->allocate(bytes);
    std::vector<std::byte> written(bytes - 5), read(bytes);
    for (std::size_t i = 0; i < written.size(); ++i)
      written[i] = static_cast<std::byte>(i * 7 + i / 251);
    buffer->upload(3, written);
    buffer->download(0, read);
    CHECK(read[0] == std::byte{0});
    CHECK(read.back() == std::byte{0});
    CHECK(std::equal(written.begin(), written.end(), read.begin() + 3));
    CHECK_THROWS_AS(buffer->upload(6, written), Error);
    CHECK_THROWS_AS(buffer->download(1, read), Error);
  }
}

#endif
