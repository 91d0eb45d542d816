// The parts of l2a-microbench.
#pragma once

#include <benchmark/benchmark.h>

#include <memory>
#include <string>
#include <vector>

#include "graph/backend.h"
#include "graph/simd_level.h"

namespace l2a::bench {

// Bytes that are valid blocks of any dtype: all values and scales are small.
std::shared_ptr<Buffer> small_values(Backend& backend, std::size_t bytes);
// Between -1/2 and 1/2, always the same.
std::vector<float> random_floats(std::int64_t count);
// So much in each iteration.
benchmark::Counter per_second(double count);

void register_matmul(SimdLevel level);
void register_attention(SimdLevel level);

}  // namespace l2a::bench
