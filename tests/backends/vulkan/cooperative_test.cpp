// Products by cooperative matrices, in every layout of a workgroup's tile. Mesa's lavapipe has them from 25 on; built
// without them, or on a device that has none, products go the common way, to the same numbers.
#include <doctest/doctest.h>

#include "graph/error.h"
#include "ops/gather_rows.h"
#include "ops/matmul.h"
#include "tests/backends/conformance.h"
#include "tests/backends/vulkan/validated_backend.h"

using namespace l2a;
using namespace l2a::test;

namespace {

struct Size {
  std::int64_t tokens, outputs;
};
// For 128 workgroups of one matrix of 8 x 8 a subgroup, as on lavapipe: 16 x 32 outputs, 16 x 16, 8 x 16, 8 x 8.
constexpr Size kSizes[] = {{253, 254}, {125, 250}, {61, 252}, {50, 70}};

std::vector<ConformanceCase> tile_cases() {
  std::vector<ConformanceCase> cases;
  for (const Dtype dtype : {Dtype::f16, Dtype::bf16, Dtype::q8_0, Dtype::q4_1}) {
    for (const Size size : kSizes) {
      cases.push_back(
          {concat("matmul ", dtype, " ", size.tokens, "x", size.outputs), [=](CaseBuilder& c) {
             const Tensor x = c.input({size.tokens, 96});
             c.compare(matmul(c.graph, x, c.weight(dtype, {size.outputs, 96})),
                       c.tolerances.of(dtype));
           }});
    }
  }
  // Rows that all but leave f16's range, at either end, and one of zeros; and rows that nobody routed.
  cases.push_back({"matmul of large and small rows", [](CaseBuilder& c) {
                     std::vector<float> values(12 * 64);
                     for (std::size_t i = 0; i < values.size(); ++i) {
                       constexpr float kScales[] = {1e30f, 1e-30f, 0, 1};
                       values[i] = c.uniform() * kScales[i / 64 % 4];
                     }
                     const Tensor x = c.floats(values, {12, 64});
                     const Tensor y = matmul(c.graph, x, c.weight(Dtype::f16, {40, 64}));
                     for (std::int64_t row = 0; row < 12; ++row) {
                       c.compare(c.graph.slice(y, row, row + 1), c.tolerances.f16);
                     }
                   }});
  for (const double share : {0.0, 0.3}) {
    cases.push_back(
        {concat("matmul of rows at ", share), [=](CaseBuilder& c) {
           const Tensor x = gather_rows(c.graph, c.input({200, 64}), c.rows(200, share));
           c.compare(matmul(c.graph, x, c.weight(Dtype::q8_0, {131, 64})), c.tolerances.quantized);
         }});
  }
  return cases;
}

}  // namespace

TEST_CASE("products of many tokens on Vulkan are right in every tile, whatever the size of rows") {
  VulkanOptions options;
  options.tune_as_gpu = true;
  ValidatedBackend vulkan(options);
  const Tolerances tolerances = first_vulkan_device().cooperative ? kCooperative : Tolerances{};
  const ConformanceSubject subjects[] = {{"vulkan", vulkan.backend(), tolerances}};
  check_conformance(tile_cases(), subjects);
}
