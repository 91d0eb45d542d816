// Nodes that a GPU runs as one step, with weights of every way of reading them: the suite has single ops, and the
// checkpoints float weights.
#include <doctest/doctest.h>

#include "graph/error.h"
#include "ops/add.h"
#include "ops/gather_rows.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/silu_mul.h"
#include "tests/backends/conformance.h"
#include "tests/backends/vulkan/validated_backend.h"

using namespace l2a;
using namespace l2a::test;

namespace {

constexpr std::int64_t kWidth = 512, kInner = 768;
// Two products, one of which multiplies the errors of another two.
constexpr Tolerances kTolerances{.f16 = 1e-4, .bf16 = 1e-4, .quantized = 4e-2};

std::vector<ConformanceCase> joined_cases() {
  std::vector<ConformanceCase> cases;
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::q8_0, Dtype::q4_0,
                            Dtype::q4_1, Dtype::q5_1, Dtype::q4_k, Dtype::q5_k, Dtype::q6_k}) {
    for (const std::int64_t tokens : {1, 2, 7}) {
      cases.push_back(
          {concat("feed forward ", dtype, " ", tokens), [=](CaseBuilder& c) {
             const Tensor x = c.input({tokens, kWidth});
             const Tensor h = rms_norm(c.graph, x, c.weight(Dtype::f32, {kWidth}), 1e-6f);
             const Tensor gate = matmul(c.graph, h, c.weight(dtype, {kInner, kWidth}, 0.2f));
             const Tensor up = matmul(c.graph, h, c.weight(dtype, {kInner, kWidth}, 0.2f));
             const Tensor down =
                 matmul(c.graph, silu_mul(c.graph, gate, up), c.weight(dtype, {kWidth, kInner}));
             c.compare(add(c.graph, x, down), c.tolerances.of(dtype));
           }});
    }
    for (const double share : {0.0, 0.5, 1.0}) {
      cases.push_back(
          {concat("product and bias of rows ", dtype, " at ", share), [=](CaseBuilder& c) {
             const Tensor x = gather_rows(c.graph, c.input({6, kWidth}), c.rows(6, share));
             const Tensor h = rms_norm(c.graph, x, c.weight(Dtype::f32, {kWidth}), 1e-6f);
             const Tensor y = matmul(c.graph, h, c.weight(dtype, {37, kWidth}));
             c.compare(add(c.graph, y, c.weight(Dtype::f32, {37})), c.tolerances.of(dtype));
           }});
    }
  }
  return cases;
}

}  // namespace

TEST_CASE("nodes that are joined on a GPU compute on Vulkan what they compute one by one") {
  VulkanOptions options;
  options.tune_as_gpu = true;
  ValidatedBackend vulkan(options);
  const ConformanceSubject subjects[] = {{"vulkan", vulkan.backend(), kTolerances}};
  check_conformance(joined_cases(), subjects);
}
