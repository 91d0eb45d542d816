#include "tests/backends/conformance.h"

#include <doctest/doctest.h>

#include "backends/cpu/cpu_backend.h"

using namespace l2a;

TEST_CASE(
    "the CPU backend computes what the reference code computes, at every level of this machine") {
  for (const SimdLevel level : simd_levels()) {
    const auto backend = make_cpu_backend({2, level});
    test::Tolerances tolerances;
    // Queries, keys, weights and values are rounded to bf16, each by up to 2^-9, and queries and keys count for the score,
    // of about 1 here, that is the exponent of a weight: four times 2^-9.
    if (level == SimdLevel::amx) tolerances.rounded_attention = 8e-3;
    for (const test::ConformanceCase& one : test::conformance_cases()) {
      const std::string difference = test::run_conformance(one, backend, tolerances);
      CHECK_MESSAGE(difference.empty(), simd_level_name(level), ": ", one.name, ": ", difference);
    }
  }
}
