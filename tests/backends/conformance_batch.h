// Cases of what several sequences share in one run, beside those of conformance_cases.cpp.
#pragma once

#include <vector>

#include "tests/backends/conformance.h"

namespace l2a::test {

void add_batch_cases(std::vector<ConformanceCase>& cases);

}  // namespace l2a::test
