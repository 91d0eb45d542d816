#include <doctest/doctest.h>

#include "backends/cpu/cpu_backend.h"
#include "backends/cpu/limits.h"

namespace l2a::test {
namespace {

TEST_CASE(
    "the limits of each SIMD level are measured, and no lower level's products beat a higher's") {
  double integers = 0;
  for (const SimdLevel level : simd_levels()) {
    CAPTURE(simd_level_name(level));
    const Limits limits = make_cpu_backend({1, level})->measure_limits();
    // Bounds that no machine of this century is outside of.
    CHECK(limits.read_bytes > 1e8);
    CHECK(limits.read_bytes < 1e13);
    CHECK(limits.float_operations > 1e8);
    CHECK(limits.float_operations < 1e13);
    CHECK((limits.integer_operations > 0) == (level != SimdLevel::generic));
    CHECK(limits.integer_operations >= 0.5 * integers);  // half: the machine may be busy
    CHECK((limits.bf16_operations > 0) == (level == SimdLevel::amx));
    if (level == SimdLevel::amx) CHECK(limits.bf16_operations >= 0.5 * limits.integer_operations);
    CHECK(limits.how.find("1 thread") != std::string::npos);
    integers = limits.integer_operations;
  }
}

}  // namespace
}  // namespace l2a::test
