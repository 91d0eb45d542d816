#include "tests/backends/conformance.h"

#include <doctest/doctest.h>

#include "backends/cpu/cpu_backend.h"

using namespace l2a;

TEST_CASE(
    "the CPU backend computes what the reference code computes, at every level of this machine") {
  for (const SimdLevel level : simd_levels()) {
    const auto backend = make_cpu_backend({2, level});
    test::Tolerances tolerances;
    if (level == SimdLevel::amx) tolerances.rounded_attention = 2e-3;
    for (const test::ConformanceCase& one : test::conformance_cases()) {
      const std::string difference = test::run_conformance(one, backend, tolerances);
      CHECK_MESSAGE(difference.empty(), simd_level_name(level), ": ", one.name, ": ", difference);
    }
  }
}
