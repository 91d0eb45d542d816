// What lies between the projections of an attention and the attention: biases, head norms, RoPE, and the way into the
// caches, in one pass over each token instead of one for each op.
#pragma once

#include <array>

#include "backends/cpu/simd.h"
#include "graph/tensor.h"
#include "graph/thread_pool.h"
#include "ops/rope.h"

namespace l2a::cpu {

struct HeadPart {
  TensorView x;                 // f32 [T, H * D], and changed on the way
  const float* bias = nullptr;  // each where it is there
  const float* norm = nullptr;
  float eps = 0;
  bool turns = false;
  bool appends = false;  // to `to`, a cache [C, H, D]; else `to` is f32 [T, H, D]
  TensorView to;
};

struct FinishHeads {
  TensorView table, positions;
  RopePairing pairing = RopePairing::half;
  std::int64_t sinks = 0;
  int count = 0;
  std::array<HeadPart, 3> parts = {};
};

void finish_heads(const FinishHeads& call, ThreadPool& pool, const SimdKernels& simd);

}  // namespace l2a::cpu
