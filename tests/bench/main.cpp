// Products of matrices and attention on one thread of the CPU backend, by level and dtype:
//   l2a-microbench --benchmark_filter='matmul/avx512/q4_k'
// The times are the processor's, so that a busy machine spoils them less.
#include <random>

#include "tests/bench/bench.h"

namespace l2a::bench {

std::shared_ptr<Buffer> small_values(Backend& backend, std::size_t bytes) {
  auto buffer = backend.allocate(bytes);
  std::mt19937 random(1);
  auto* words = reinterpret_cast<std::uint32_t*>(buffer->host());
  for (std::size_t i = 0; i < bytes / 4; ++i) words[i] = random() & 0x2f2f2f2fU;
  return buffer;
}

std::vector<float> random_floats(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  std::mt19937 random(2);
  for (float& value : values) value = static_cast<float>(random() >> 8) * 0x1p-24f - 0.5f;
  return values;
}

benchmark::Counter per_second(double count) {
  return {count, benchmark::Counter::kIsIterationInvariantRate};
}

}  // namespace l2a::bench

int main(int argc, char** argv) {
  for (const l2a::SimdLevel level : l2a::simd_levels()) {
    l2a::bench::register_matmul(level);
    l2a::bench::register_attention(level);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
