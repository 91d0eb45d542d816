// The pieces that a matmul is put together from (matmul.cu says when which).
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "backends/cuda/kernel.h"
#include "graph/dtype.h"

namespace l2a::cuda {

// Activations of up to `tokens` rows of `inner` values; only those under the count of `rows` exist.
struct Columns {
  const float* x = nullptr;
  int tokens = 0, inner = 0;
  const std::int32_t* rows = nullptr;
};

// Activations as the quantized products read them: per 32 values int8 q, scale = max|x| / 127 and
// sum = scale * Σq (backends/cpu/activation.h has the same), in three arrays [tokens, ...].
struct QuantizedColumns {
  std::int8_t* q = nullptr;
  float* scale = nullptr;
  float* sum = nullptr;

  static std::size_t bytes(std::int64_t tokens, std::int64_t inner) {
    return static_cast<std::size_t>(tokens * (inner + inner / 32 * 8));
  }
  __host__ __device__ static QuantizedColumns in(std::byte* memory, std::int64_t tokens,
                                                 std::int64_t inner) {
    auto* scale = reinterpret_cast<float*>(memory + tokens * inner);
    return {reinterpret_cast<std::int8_t*>(memory), scale, scale + tokens * (inner / 32)};
  }
};
void quantize_columns(const Columns& x, const QuantizedColumns& to, const DeviceTraits& device,
                      cudaStream_t stream);

// One weight [outer, inner] and where its products with every token go: out [tokens, outer].
struct Product {
  const std::byte* weight = nullptr;
  int outer = 0;
  float* out = nullptr;
  const float* addend = nullptr;  // [tokens, outer], added to the products; may be `out` itself
};

// The router of a single token (ops/route.h), as part of the product that needs its answer.
struct Router {
  const float* x = nullptr;       // [width]; null: the product's activations, normalized
  const float* weight = nullptr;  // [width]; null: nothing is routed
  const float* bias = nullptr;
  int width = 0;
  float cut = 0;
  bool spares_last = false;       // the last product is for a routed token alone
  std::int32_t* rows = nullptr;   // Rows of one token
  std::int32_t* tally = nullptr;  // raised by its count; may be null
};

// What happens to the activations of a single token before they are multiplied: each block does it for itself.
struct Preparation {
  const float* norm = nullptr;  // rms_norm's weight; null: none
  float eps = 0;
  Router router;
};

// Products of few tokens with up to three weights of one dtype, bound by reading the weights.
// `gated`: out of the first = silu(first) * second. Of a compact token that does not exist, out is the addend.
struct Matvec {
  static constexpr int kMaxProducts = 3;
  Dtype dtype = Dtype::f32;
  Columns columns;
  QuantizedColumns quantized;  // of several tokens, for quantized weights
  Preparation preparation;     // of a single one
  Product products[kMaxProducts];
  int count = 1;
  bool gated = false;
  DeviceTraits device;
  cudaStream_t stream = nullptr;
};
constexpr int kMatvecTokens = 8;  // up to which it is used
// Whether a product is of a single token that blocks prepare in shared memory: it takes a Preparation, and quantized
// weights need no QuantizedColumns.
bool prepares_token(Dtype dtype, std::int64_t tokens, std::int64_t inner,
                    const DeviceTraits& device);
// Float weights are read 16 bytes at a time; rows of another length go to `simt_product`.
void quantized_matvec(const Matvec& matvec);
void float_matvec(const Matvec& matvec);

// Weights [outer, inner] of any block type as f16.
void expand_blocks(Dtype dtype, const std::byte* weight, std::int64_t elements, void* out,
                   cudaStream_t stream);

// Tensor-core products with f16 or bf16 weights; inner a multiple of 8. Activations are rounded to
// the weights' type first: f16 rows are divided by their largest magnitude, which `scale` [tokens]
// keeps, so that nothing overflows.
void half_columns(Dtype dtype, const Columns& x, void* out, float* scale, cudaStream_t stream);
struct HalfProduct {
  Dtype dtype = Dtype::f16;
  const void* x = nullptr;       // [tokens, inner]
  const float* scale = nullptr;  // [tokens]; null: 1
  const void* weight = nullptr;  // [outer, inner]
  float* out = nullptr;          // rows of `stride` floats
  int tokens = 0, inner = 0, outer = 0, stride = 0;
  const std::int32_t* rows = nullptr;
};
void half_product(const HalfProduct& product, cudaStream_t stream);
// The same where device.hopper().
void hopper_product(const HalfProduct& product, const DeviceTraits& device, cudaStream_t stream);

// Rows of int8 for tensor-core products of integers: of every 256 values of a row, a group, scale = max|v| / 127 and
// q = v / scale, to the nearest. A group with an infinity or a NaN has the scale NaN. A last group may be shorter.
constexpr int kGroup = 256;
struct GroupedRows {
  std::int8_t* q = nullptr;  // [rows, inner]
  float* scale = nullptr;    // [groups, stride]
  int stride = 0;            // the rows, rounded up so that tiles read whole

  static int groups(std::int64_t inner) { return static_cast<int>((inner + kGroup - 1) / kGroup); }
  static int stride_of(std::int64_t rows) {
    constexpr int kTile = 128;
    return static_cast<int>((rows + kTile - 1) / kTile * kTile);
  }
  static std::size_t bytes(std::int64_t rows, std::int64_t inner) {
    return static_cast<std::size_t>(scales_at(rows, inner)) +
           sizeof(float) * static_cast<std::size_t>(groups(inner)) *
               static_cast<std::size_t>(stride_of(rows));
  }
  // At an address that is a multiple of 128.
  static GroupedRows in(std::byte* memory, std::int64_t rows, std::int64_t inner) {
    return {reinterpret_cast<std::int8_t*>(memory),
            reinterpret_cast<float*>(memory + scales_at(rows, inner)), stride_of(rows)};
  }

 private:
  static std::int64_t scales_at(std::int64_t rows, std::int64_t inner) {
    return (rows * inner + 127) / 128 * 128;
  }
};
void group_columns(const Columns& x, const GroupedRows& to, cudaStream_t stream);
void group_blocks(Dtype dtype, const std::byte* weight, int rows, int inner, const GroupedRows& to,
                  cudaStream_t stream);
// Products of grouped rows where device.hopper(); inner a multiple of 32.
struct GroupedProduct {
  GroupedRows x, weight;
  float* out = nullptr;  // rows of `stride` floats
  int tokens = 0, inner = 0, outer = 0, stride = 0;
  const std::int32_t* rows = nullptr;
};
void grouped_product(const GroupedProduct& product, const DeviceTraits& device,
                     cudaStream_t stream);

// Any float weight, any size, all in f32.
void simt_product(Dtype dtype, const Columns& x, const Product& product, cudaStream_t stream);

}  // namespace l2a::cuda
