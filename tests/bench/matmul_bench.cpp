// Products of matrices on one thread of the CPU backend, by level, dtype and tokens:
//   l2a-microbench --benchmark_filter='matmul/avx512/q4_k'
// One token reads a weight that is far larger than any cache, and many tokens meet one that is not. The times are
// the processor's, so that a busy machine spoils them less.
#include <benchmark/benchmark.h>

#include <random>
#include <string>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "graph/plan.h"
#include "ops/matmul.h"

namespace {

using namespace l2a;

constexpr std::int64_t kInner = 1024;

// Bytes that are valid blocks of any dtype: all values and scales are small.
std::shared_ptr<Buffer> weights(Backend& backend, std::size_t bytes) {
  auto buffer = backend.allocate(bytes);
  std::mt19937 random(1);
  auto* words = reinterpret_cast<std::uint32_t*>(buffer->host());
  for (std::size_t i = 0; i < bytes / 4; ++i) words[i] = random() & 0x2f2f2f2fU;
  return buffer;
}

void matmul_of(benchmark::State& state, SimdLevel level, Dtype dtype, std::int64_t tokens) {
  const auto backend = make_cpu_backend({1, level});
  const std::int64_t rows = tokens == 1 ? 131072 : 1024;
  const std::size_t bytes = dtype_bytes(dtype, rows * kInner);
  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {tokens, kInner});
  const Tensor y =
      matmul(graph, x, graph.weight("w", dtype, {rows, kInner}, weights(*backend, bytes)));
  graph.output(y);
  Plan plan(graph.build(), {backend});
  std::vector<float> values(static_cast<std::size_t>(tokens * kInner));
  std::mt19937 random(2);
  for (float& value : values) value = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
  plan.write(x, std::span<const float>(values));
  plan.run();
  for ([[maybe_unused]] auto _ : state) plan.run();
  const auto per_second = [](double count) {
    return benchmark::Counter(count, benchmark::Counter::kIsIterationInvariantRate);
  };
  state.counters["op/s"] = per_second(2.0 * static_cast<double>(tokens * rows * kInner));
  state.counters["B/s"] = per_second(static_cast<double>(bytes));
}

}  // namespace

int main(int argc, char** argv) {
  for (const SimdLevel level : simd_levels()) {
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
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
