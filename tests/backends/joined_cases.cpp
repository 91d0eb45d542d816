#include "tests/backends/joined_cases.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "graph/error.h"
#include "ops/add.h"
#include "ops/argmax.h"
#include "ops/gather_rows.h"
#include "ops/matmul.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/self_attention.h"
#include "ops/silu_mul.h"

namespace l2a::test {
namespace {

constexpr std::int64_t kWidth = 512, kInner = 768, kInputs = 64;

// A product of one token and its argmax. Some rows of the weight are the same and far above the others, some are NaN.
ConformanceCase head_case(std::int64_t outputs, std::vector<std::int64_t> largest,
                          std::vector<std::int64_t> nan) {
  return {
      concat("head of ", outputs, " with ", largest.size(), " largest and ", nan.size(), " NaN"),
      [=](CaseBuilder& c) {
        std::vector<float> x(kWidth), weight(static_cast<std::size_t>(outputs * kWidth));
        for (float& value : x) value = c.uniform(0.5f, 1.5f);
        for (float& value : weight) value = c.uniform();
        const auto set_row = [&](std::int64_t row, float value) {
          std::fill_n(weight.begin() + row * kWidth, kWidth, value);
        };
        for (const std::int64_t row : largest) set_row(row, 2);
        for (const std::int64_t row : nan) set_row(row, NAN);
        const Tensor logits =
            matmul(c.graph, c.floats(x, {1, kWidth}), c.floats(weight, {outputs, kWidth}));
        if (nan.empty()) c.compare(logits, 1e-5);
        c.compare(argmax(c.graph, logits), 0);
      }};
}

}  // namespace

std::vector<ConformanceCase> joined_cases(std::span<const std::int64_t> token_counts) {
  std::vector<ConformanceCase> cases;
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::q8_0, Dtype::q4_0,
                            Dtype::q4_1, Dtype::q5_1, Dtype::q4_k, Dtype::q5_k, Dtype::q6_k}) {
    for (const std::int64_t tokens : token_counts) {
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
  for (const auto& [outputs, largest] : {std::pair<std::int64_t, std::vector<std::int64_t>>{1, {0}},
                                         {37, {36}},
                                         {513, {511, 512, 300}},
                                         {4097, {}},
                                         {9001, {8999, 4500, 4501}}}) {
    cases.push_back(head_case(outputs, largest, {}));
    cases.push_back(head_case(outputs, largest, {0}));
  }
  cases.push_back(head_case(3, {}, {0, 1, 2}));
  return cases;
}

ConformanceCase attention_case(const AttentionCase& a) {
  return {concat(a.tokens, " tokens ", a.weights, " ", a.cache, " at ", a.position, " of ",
                 a.capacity, " heads ", a.query_heads, "/", a.kv_heads, " of ", a.dim, " window ",
                 a.options.window),
          [=](CaseBuilder& c) {
            const std::int64_t query = a.query_heads * a.dim, key = a.kv_heads * a.dim;
            const auto f32 = [&](const Shape& shape) { return c.weight(Dtype::f32, shape); };
            const auto weight = [&](std::int64_t outputs, float scale) {
              return c.weight(a.weights, {outputs, kInputs}, scale);
            };
            AttentionBlock block;
            block.weights.q = weight(query, 0.3f);
            block.weights.k = weight(key, 0.3f);
            block.weights.v = weight(key, 1);
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
            const double rounding =
                std::max(c.tolerances.of(a.weights), a.cache == Dtype::f32   ? 1e-5
                                                     : a.cache == Dtype::f16 ? 1e-3
                                                                             : 8e-3);
            block.cache = {c.state(a.cache, {a.capacity, a.kv_heads, a.dim}, rounding),
                           c.state(a.cache, {a.capacity, a.kv_heads, a.dim}, rounding),
                           a.options.cache_sinks, a.capacity <= a.position};
            TokenInputs tokens;
            std::vector<std::int32_t> positions(static_cast<std::size_t>(a.tokens));
            std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(a.position));
            tokens.positions = c.indices(positions);
            const RopeFrequencies frequencies = rope_frequencies(a.dim, 1e4, {});
            tokens.rope_table = rope_table(c.graph, tokens.positions,
                                           c.floats(frequencies.inverse, {a.dim / 2}), 1);
            const Tensor x = c.input({a.tokens, kInputs});
            const Tensor h = a.norm ? rms_norm(c.graph, x, f32({kInputs}), 1e-6f) : x;
            const Tensor y = self_attention(c.graph, h, h, block, tokens,
                                            {a.options.window, a.options.sinks, {}});
            c.compare(add(c.graph, x, y), rounding);
          }};
}

}  // namespace l2a::test
