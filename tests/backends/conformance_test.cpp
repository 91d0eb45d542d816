#include "tests/backends/conformance.h"

#include <doctest/doctest.h>

using namespace l2a;

TEST_CASE(
    "the CPU backend computes what the reference code computes, at every level of this machine") {
  test::check_conformance(test::conformance_cases(), test::cpu_subjects());
}
