#include <doctest/doctest.h>

#include "tests/backends/joined_cases.h"
#include "tests/backends/vulkan/validated_backend.h"

using namespace l2a;
using namespace l2a::test;

namespace {

// Two products, one of which multiplies the errors of another two.
constexpr Tolerances kTolerances{.f16 = 1e-4, .bf16 = 1e-4, .quantized = 4e-2};

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

void check_joined(const std::vector<ConformanceCase>& cases) {
  VulkanOptions options;
  options.tune_as_gpu = true;
  ValidatedBackend vulkan(options);
  const ConformanceSubject subjects[] = {{"vulkan", vulkan.backend(), kTolerances}};
  check_conformance(cases, subjects);
}

}  // namespace

TEST_CASE("nodes that are joined on a GPU compute on Vulkan what they compute one by one") {
  constexpr std::int64_t kTokens[] = {1, 2, 7};
  check_joined(joined_cases(kTokens));
}

TEST_CASE("a token's attention is joined with what lies before it") { check_joined(token_cases()); }
