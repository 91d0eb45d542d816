// One token reads a weight that is far larger than any cache, and many tokens meet one that is not.
#include "backends/cpu/cpu_backend.h"
#include "graph/plan.h"
#include "ops/matmul.h"
#include "tests/bench/bench.h"

namespace l2a::bench {
namespace {

constexpr std::int64_t kInner = 1024;

void matmul_of(benchmark::State& state, SimdLevel level, Dtype dtype, std::int64_t tokens) {
  const auto backend = make_cpu_backend({1, level});
  const std::int64_t rows = tokens == 1 ? 131072 : 1024;
  const std::size_t bytes = dtype_bytes(dtype, rows * kInner);
  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {tokens, kInner});
  const Tensor y =
      matmul(graph, x, graph.weight("w", dtype, {rows, kInner}, small_values(*backend, bytes)));
  graph.output(y);
  Plan plan(graph.build(), {backend});
  const std::vector<float> values = random_floats(tokens * kInner);
  plan.write(x, std::span<const float>(values));
  plan.run();
  for ([[maybe_unused]] auto _ : state) plan.run();
  state.counters["op/s"] = per_second(2.0 * static_cast<double>(tokens * rows * kInner));
  state.counters["B/s"] = per_second(static_cast<double>(bytes));
}

}  // namespace

void register_matmul(SimdLevel level) {
  for (int d = 0; d < kDtypeCount; ++d) {
    const auto dtype = static_cast<Dtype>(d);
    if (dtype == Dtype::i32) continue;
    for (const std::int64_t tokens : {1, 2, 4, 6, 8, 16, 64, 512}) {
      const std::string name = "matmul/" + std::string(simd_level_name(level)) + "/" +
                               std::string(dtype_name(dtype)) + "/" + std::to_string(tokens);
      benchmark::RegisterBenchmark(name.c_str(), matmul_of, level, dtype, tokens)
          ->Unit(benchmark::kMicrosecond);
    }
  }
}

}  // namespace l2a::bench
