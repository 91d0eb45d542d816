// Kernels that do the work of several nodes at decode (lowering.h says which).
#pragma once

#include "backends/cuda/kernels/matmul_parts.h"

namespace l2a::cuda {

// y = rms_norm(x) for rows of a multiple of 32 values and, unless `quantized` is null, the same rounded to 8 bits for the
// products that follow.
struct NormQuantize {
  Columns x;
  const float* weight = nullptr;
  float eps = 0;
  float* out = nullptr;
  QuantizedColumns quantized;
};
void norm_quantize(const NormQuantize& call, const DeviceTraits& device, cudaStream_t stream);
constexpr int kMostNormWidth = 16384;

// What lies between the projections of an attention and the attention itself, for every head: bias, head norm, RoPE,
// and the append of keys and values to their caches.
struct HeadPart {
  const float* x = nullptr;     // [tokens, heads, dim]
  const float* bias = nullptr;  // [heads, dim] or null
  const float* norm = nullptr;  // [dim] or null
};
struct FinishHeads {
  HeadPart query, key, value;  // a query that is computed elsewhere has no heads
  int tokens = 0, query_heads = 0, key_heads = 0, dim = 0;
  float eps = 0;
  const float* table = nullptr;  // of RoPE
  bool half = true;              // its pairing
  const std::int32_t* positions = nullptr;
  float* query_out = nullptr;
  std::byte *keys = nullptr, *values = nullptr;  // caches
  Dtype cache = Dtype::f32;
  int capacity = 0, sinks = 0;
};
void finish_heads(const FinishHeads& call, const DeviceTraits& device, cudaStream_t stream);
constexpr int kMostHeadDims = 256;

// The same and the attention of these heads as one kernel, where `attention`, a call of that op, allows it.
bool finishes_and_attends(const CudaCall& attention, const FinishHeads& finish);
void finish_and_attend(const CudaCall& attention, const FinishHeads& finish);

}  // namespace l2a::cuda
