// Nodes that the CPU backend computes together.
#include <doctest/doctest.h>

#include "backends/cpu/cpu_backend.h"
#include "graph/error.h"
#include "ops/add.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/silu_mul.h"
#include "tests/backends/joined_cases.h"

using namespace l2a;
using namespace l2a::test;

namespace {

// At every level, with products of which one multiplies the errors of others.
void check_joined(const std::vector<ConformanceCase>& cases) {
  check_conformance(cases, cpu_subjects({.quantized = 4e-2}));
}

}  // namespace

TEST_CASE("nodes that are joined compute on the CPU what they compute one by one") {
  // One by one, in panels, and in tiles of AMX, the last of them not full.
  constexpr std::int64_t kTokens[] = {1, 5, 9, 70};
  check_joined(joined_cases(kTokens));
}

TEST_CASE(
    "gates of products that are longer than a panel is deep compute what they compute one by one") {
  std::vector<ConformanceCase> cases;
  for (const Dtype dtype : {Dtype::q8_0, Dtype::q4_k, Dtype::bf16}) {
    for (const std::int64_t tokens : {3, 40, 300}) {
      cases.push_back({concat("gate ", dtype, " ", tokens), [=](CaseBuilder& c) {
                         const Tensor x = c.input({tokens, 1280});
                         const Tensor gate = matmul(c.graph, x, c.weight(dtype, {45, 1280}, 0.2f));
                         const Tensor up = matmul(c.graph, x, c.weight(dtype, {45, 1280}, 0.2f));
                         c.compare(silu_mul(c.graph, gate, up), c.tolerances.of(dtype));
                       }});
    }
  }
  check_joined(cases);
}

TEST_CASE(
    "projections, head norms, RoPE and appends are joined on the CPU as they are one by one") {
  std::vector<ConformanceCase> cases;
  for (const Dtype weights : {Dtype::f32, Dtype::q8_0, Dtype::q4_0}) {
    for (const Dtype cache : {Dtype::f32, Dtype::f16, Dtype::q8_0}) {
      for (const std::int64_t tokens : {1, 7, 30}) {
        cases.push_back(
            attention_case({cache, 130, 200, 4, 2, 64, {}, true, false, tokens, weights}));
        cases.push_back(
            attention_case({cache, 0, 200, 6, 2, 32, {50, 4, 0}, false, true, tokens, weights}));
      }
      // A ring that one token goes round.
      cases.push_back(
          attention_case({cache, 150, 75, 7, 1, 64, {70, 5, 5}, false, true, 1, weights}));
    }
  }
  check_joined(cases);
}

TEST_CASE("a value of a run that the host reads is computed though its nodes could be joined") {
  for (const SimdLevel level : simd_levels()) {
    const auto backend = make_cpu_backend({1, level});
    CaseBuilder c(backend, 7, {});
    const Tensor x = c.input({2, 64});
    const Tensor h = rms_norm(c.graph, x, c.weight(Dtype::f32, {64}), 1e-6f);
    const Tensor y = matmul(c.graph, h, c.weight(Dtype::q8_0, {32, 64}));
    c.compare(h, 0);
    c.compare(add(c.graph, c.input({2, 32}), y), 0);
    const auto results = c.run();
    REQUIRE(results.size() == 2);
    // Poisoned memory is NaN.
    for (const double value : results[0].values) CHECK(value == value);
  }
}
