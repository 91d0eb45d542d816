// Attention in the heads of Qwen3-0.6B (16 of queries, 8 of keys, 128 wide) over `depth` positions and its own tokens: of
// one token, and of a prompt's chunk.
#include <numeric>

#include "backends/cpu/cpu_backend.h"
#include "graph/plan.h"
#include "ops/attention.h"
#include "tests/bench/bench.h"

namespace l2a::bench {
namespace {

constexpr std::int64_t kHeads = 16, kKeyHeads = 8, kDim = 128;

void attention_of(benchmark::State& state, SimdLevel level, Dtype dtype, std::int64_t tokens,
                  std::int64_t depth) {
  const auto backend = make_cpu_backend({1, level});
  const Shape cache{depth + tokens, kKeyHeads, kDim};
  const std::size_t bytes = dtype_bytes(dtype, cache.elements());
  GraphBuilder graph;
  AttentionInputs in;
  in.query = graph.input("query", Dtype::f32, {tokens, kHeads, kDim});
  in.positions = graph.input("positions", Dtype::i32, {tokens});
  in.keys = graph.state("keys", dtype, cache, small_values(*backend, bytes));
  in.values = graph.state("values", dtype, cache, small_values(*backend, bytes));
  graph.output(attention(graph, in, {}));
  Plan plan(graph.build(), {backend});
  const std::vector<float> query = random_floats(tokens * kHeads * kDim);
  std::vector<std::int32_t> positions(static_cast<std::size_t>(tokens));
  std::iota(positions.begin(), positions.end(), static_cast<std::int32_t>(depth));
  plan.write(in.query, std::span<const float>(query));
  plan.write(in.positions, std::span<const std::int32_t>(positions));
  plan.run();
  for ([[maybe_unused]] auto _ : state) plan.run();
  // Of keys that are seen: half of its own chunk's for a token, on average.
  const auto seen = static_cast<double>(tokens) *
                    (static_cast<double>(depth) + static_cast<double>(tokens + 1) / 2);
  state.counters["op/s"] = per_second(4 * seen * static_cast<double>(kHeads * kDim));
  state.counters["B/s"] = per_second(2 * static_cast<double>(bytes));
}

}  // namespace

void register_attention(SimdLevel level) {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::q8_0}) {
    for (const std::int64_t tokens : {1, 16, 512}) {
      for (const std::int64_t depth : {0, 256, 4096, 16384}) {
        const std::string name = "attention/" + std::string(simd_level_name(level)) + "/" +
                                 std::string(dtype_name(dtype)) + "/" + std::to_string(tokens) +
                                 "/" + std::to_string(depth);
        benchmark::RegisterBenchmark(name.c_str(), attention_of, level, dtype, tokens, depth)
            ->Unit(benchmark::kMicrosecond);
      }
    }
  }
}

}  // namespace l2a::bench
