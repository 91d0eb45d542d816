#include "tests/backends/conformance.h"

#include <doctest/doctest.h>

#include "backends/cpu/cpu_backend.h"

using namespace l2a;

TEST_CASE(
    "the CPU backend computes what the reference code computes, at every level of this machine") {
  std::vector<test::ConformanceSubject> subjects;
  for (const SimdLevel level : simd_levels()) {
    test::Tolerances tolerances;
    // Queries, keys, weights and values are sums of two bf16, each within 2^-17, and queries and keys count for the score,
    // of a few units here, that is the exponent of a weight.
    if (level == SimdLevel::amx) tolerances.rounded_attention = 5e-5;
    subjects.push_back(
        {std::string(simd_level_name(level)), make_cpu_backend({2, level}), tolerances});
  }
  test::check_conformance(test::conformance_cases(), subjects);
}
