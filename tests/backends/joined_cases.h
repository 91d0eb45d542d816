// Graphs whose nodes backends compute together, with weights of every way of reading them: the suite has single ops, and
// the checkpoints float weights.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ops/attention.h"
#include "tests/backends/conformance.h"

namespace l2a::test {

// A norm, an MLP and its sum, of so many tokens each; products of compact rows with a bias; and heads with their argmax.
std::vector<ConformanceCase> joined_cases(std::span<const std::int64_t> tokens);

// An attention from the norm and the projections to the sum; past runs are what the caches hold.
struct AttentionCase {
  Dtype cache;
  std::int64_t position, capacity, query_heads, kv_heads, dim;
  AttentionOptions options;
  bool bias, norm;
  std::int64_t tokens = 1;
  Dtype weights = Dtype::f32;
};
ConformanceCase attention_case(const AttentionCase& a);

}  // namespace l2a::test
