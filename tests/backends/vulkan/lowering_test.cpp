// Nodes that a GPU runs as one step, and steps that wait for one another.
#include <doctest/doctest.h>

#include "tests/backends/joined_cases.h"
#include "tests/backends/vulkan/validated_backend.h"

using namespace l2a;
using namespace l2a::test;

namespace {

// Two products, one of which multiplies the errors of another two.
constexpr Tolerances kTolerances{.f16 = 1e-4, .bf16 = 1e-4, .quantized = 4e-2};

constexpr std::int64_t kFewTokens[] = {1, 2, 7};

std::vector<ConformanceCase> token_cases() {
  std::vector<ConformanceCase> cases;
  for (const Dtype cache : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const std::int64_t position : {0, 1, 130, 900}) {
      cases.push_back(attention_case({cache, position, 1000, 4, 2, 64, {}, true, false}));
    }
    cases.push_back(attention_case({cache, 700, 1000, 14, 1, 128, {}, false, true}));
    cases.push_back(attention_case({cache, 70, 100, 3, 3, 256, {}, false, true}));
    cases.push_back(attention_case({cache, 150, 75, 7, 1, 64, {70, 5, 5}, false, true}));
    cases.push_back(attention_case({cache, 150, 70, 4, 2, 128, {70, 0, 0}, false, false}));
    cases.push_back(attention_case({cache, 700, 1000, 4, 2, 64, {300, 9, 0}, true, true}));
  }
  return cases;
}

VulkanOptions as_gpu(bool links) {
  VulkanOptions options;
  options.tune_as_gpu = true;
  options.links = links;
  return options;
}

void check_joined(const std::vector<ConformanceCase>& cases, const VulkanOptions& options) {
  ValidatedBackend vulkan(options);
  const ConformanceSubject subjects[] = {{"vulkan", vulkan.backend(), kTolerances}};
  check_conformance(cases, subjects);
}

}  // namespace

TEST_CASE("nodes that are joined on a GPU compute on Vulkan what they compute one by one") {
  check_joined(joined_cases(kFewTokens), as_gpu(false));
}

TEST_CASE("a token's attention is joined with what lies before it") {
  check_joined(token_cases(), as_gpu(false));
}

TEST_CASE("dispatches that wait for one another compute what they do with barriers between") {
  std::vector<ConformanceCase> cases = token_cases();
  for (ConformanceCase& one : joined_cases(kFewTokens)) {
    if (one.name.starts_with("feed forward")) cases.push_back(std::move(one));
  }
  check_joined(cases, as_gpu(true));
}

TEST_CASE("a wait that is given up is told of once, and the step done again with barriers") {
  std::vector<std::string> notices;
  VulkanOptions options = as_gpu(true);
  options.link_looks = 0;
  options.notice = [&](const std::string& line) { notices.push_back(line); };
  check_joined(token_cases(), options);
  REQUIRE(notices.size() == 1);
  CHECK(contains(notices[0], "waited in vain"));
}
