// Products of one input with up to three weights, and what is done with them on the way: the norm before them, the sum
// or the gate after. A matmul alone is one product; lowering.h says what becomes more.
#pragma once

#include <array>
#include <cstddef>

#include "backends/cpu/simd.h"
#include "graph/tensor.h"
#include "graph/thread_pool.h"

namespace l2a::cpu {

struct Product {
  TensorView weight;  // [N, K]
  TensorView out;     // f32 [T, N]
};

struct Products {
  TensorView x;     // f32 [T, K]
  TensorView rows;  // of a compact x
  // x is normed first (ops/rms_norm.h), where there is a weight. For quantized weights, and up to kMostNormed values.
  const float* norm = nullptr;
  float eps = 0;
  int count = 1;
  std::array<Product, 3> each = {};
  bool adds = false;      // to what `out` holds, else in its place
  TensorView gated = {};  // of two products: silu(first) * second, where this is given
};

inline constexpr std::int64_t kMostNormed = 8192;

// Whether products of both weights can be one call.
bool products_fit(const SimdKernels& simd, const TensorView& a, const TensorView& b);
// Whether a call copies its activations, so that they may be normed then, and their memory be written to.
bool products_copy(const TensorView& weight);

std::size_t products_bytes(const Products& call, const ThreadPool& pool, const SimdKernels& simd);
// `workspace`: 64-byte aligned, products_bytes() long.
void run_products(const Products& call, ThreadPool& pool, const SimdKernels& simd,
                  std::byte* workspace);

}  // namespace l2a::cpu
