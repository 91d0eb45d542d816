// What this machine's processors and memory do at most: the limits that speeds are held against.
#pragma once

#include "graph/backend.h"
#include "graph/simd_level.h"
#include "graph/thread_pool.h"

namespace l2a {

// Reads: the sum of a buffer far larger than any cache, every thread on its part. Products: chains
// of the very instructions that the level's kernels are made of, on registers alone. The best of a
// few passes each; about a third of a second together. Plain C++ has no integer limit.
Limits measure_cpu_limits(ThreadPool& pool, SimdLevel level);

}  // namespace l2a
