// Nodes that a GPU runs as one step, with weights of every way of reading them: the suite has single ops, and the
// checkpoints float weights.
#include <doctest/doctest.h>

#include "graph/error.h"
#include "ops/add.h"
#include "ops/gather_rows.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/self_attention.h"
#include "ops/silu_mul.h"
#include "tests/backends/conformance.h"
#include "tests/backends/vulkan/validated_backend.h"

using namespace l2a;
using namespace l2a::test;

namespace {

constexpr std::int64_t kWidth = 512, kInner = 768, kInputs = 64;
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

// Of one token from the projections on; past runs are what the caches hold.
struct TokenCase {
  Dtype cache;
  std::int64_t position, capacity, query_heads, kv_heads, dim;
  AttentionOptions options;
  bool bias, norm;
};
ConformanceCase token_case(const TokenCase& a) {
  return {
      concat("token ", a.cache, " at ", a.position, " of ", a.capacity, " heads ", a.query_heads,
             "/", a.kv_heads, " of ", a.dim, " window ", a.options.window),
      [=](CaseBuilder& c) {
        const std::int64_t query = a.query_heads * a.dim, key = a.kv_heads * a.dim;
        const auto f32 = [&](const Shape& shape) { return c.weight(Dtype::f32, shape); };
        AttentionBlock block;
        block.weights.q = c.weight(Dtype::f32, {query, kInputs}, 0.3f);
        block.weights.k = c.weight(Dtype::f32, {key, kInputs}, 0.3f);
        block.weights.v = f32({key, kInputs});
        block.weights.output = f32({kInputs, query});
        if (a.bias) {
          block.weights.q_bias = f32({query});
          block.weights.k_bias = f32({key});
          block.weights.v_bias = f32({key});
        }
        if (a.norm) {
          block.weights.q_norm = f32({a.dim});
          block.weights.k_norm = f32({a.dim});
        }
        block.heads = {a.query_heads, a.kv_heads, a.dim, 1e-6f,
                       a.bias ? RopePairing::interleaved : RopePairing::half};
        const double rounding = a.cache == Dtype::f32 ? 1e-5 : a.cache == Dtype::f16 ? 1e-3 : 8e-3;
        block.cache = {c.state(a.cache, {a.capacity, a.kv_heads, a.dim}, rounding),
                       c.state(a.cache, {a.capacity, a.kv_heads, a.dim}, rounding),
                       a.options.cache_sinks, a.capacity <= a.position};
        TokenInputs tokens;
        tokens.positions = c.indices({static_cast<std::int32_t>(a.position)});
        const RopeFrequencies frequencies = rope_frequencies(a.dim, 1e4, {});
        tokens.rope_table =
            rope_table(c.graph, tokens.positions, c.floats(frequencies.inverse, {a.dim / 2}), 1);
        const Tensor x = c.input({1, kInputs});
        const Tensor y =
            self_attention(c.graph, x, x, block, tokens, {a.options.window, a.options.sinks, {}});
        c.compare(add(c.graph, x, y), rounding);
      }};
}
std::vector<ConformanceCase> token_cases() {
  std::vector<ConformanceCase> cases;
  for (const Dtype cache : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    for (const std::int64_t position : {0, 1, 130, 900}) {
      cases.push_back(token_case({cache, position, 1000, 4, 2, 64, {}, true, false}));
    }
    cases.push_back(token_case({cache, 700, 1000, 14, 1, 128, {}, false, true}));
    cases.push_back(token_case({cache, 70, 100, 3, 3, 256, {}, false, true}));
    cases.push_back(token_case({cache, 150, 75, 7, 1, 64, {70, 5, 5}, false, true}));
    cases.push_back(token_case({cache, 150, 70, 4, 2, 128, {70, 0, 0}, false, false}));
    cases.push_back(token_case({cache, 700, 1000, 4, 2, 64, {300, 9, 0}, true, true}));
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
  check_joined(joined_cases(), as_gpu(false));
}

TEST_CASE("a token's attention is joined with what lies before it") {
  check_joined(token_cases(), as_gpu(false));
}

TEST_CASE("dispatches that wait for one another compute what they do with barriers between") {
  std::vector<ConformanceCase> cases = token_cases();
  for (ConformanceCase& one : joined_cases()) {
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
