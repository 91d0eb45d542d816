// GGUF's blocks (ops/blocks.h) on the device: eight values at a time, exactly as ops/dequantize.cpp rounds them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "backends/cuda/kernels/device_math.cuh"
#include "graph/dtype.h"
#include "ops/blocks.h"

namespace l2a::cuda {

__device__ inline float half_at(const void* address) {
  return __half2float(*static_cast<const __half*>(address));
}

// Scale and minimum of sub-block `s` of the 12 packed bytes.
__device__ inline int2 packed_scale(const std::uint8_t* b, int s) {
  if (s < 4) return {b[s] & 63, b[s + 4] & 63};
  return {(b[s + 4] & 15) | (b[s - 4] >> 6) << 4, (b[s + 4] >> 4) | (b[s] >> 6) << 4};
}

// Products and sums are rounded one by one: values must be those of the reference, to the bit.
__device__ inline float affine(float d, int q, float m) {
  return __fadd_rn(__fmul_rn(d, small_float(q)), m);
}

template <Dtype dtype>
struct Blocks;

template <>
struct Blocks<Dtype::q4_0> {
  static constexpr int kElements = 32, kBytes = sizeof(BlockQ4_0);
  __device__ static void eight(const std::uint8_t* block, int group, float out[8]) {
    const float d = half_at(block);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int byte = block[2 + 8 * (group % 2) + j];
      out[j] = d * small_float((group < 2 ? byte & 15 : byte >> 4) - 8);
    }
  }
};

template <>
struct Blocks<Dtype::q4_1> {
  static constexpr int kElements = 32, kBytes = sizeof(BlockQ4_1);
  __device__ static void eight(const std::uint8_t* block, int group, float out[8]) {
    const float d = half_at(block), m = half_at(block + 2);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int byte = block[4 + 8 * (group % 2) + j];
      out[j] = affine(d, group < 2 ? byte & 15 : byte >> 4, m);
    }
  }
};

template <>
struct Blocks<Dtype::q5_0> {
  static constexpr int kElements = 32, kBytes = sizeof(BlockQ5_0);
  __device__ static void eight(const std::uint8_t* block, int group, float out[8]) {
    const float d = half_at(block);
    const int fifth = block[2 + group];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int byte = block[6 + 8 * (group % 2) + j];
      const int q = (group < 2 ? byte & 15 : byte >> 4) | ((fifth >> j) & 1) << 4;
      out[j] = d * small_float(q - 16);
    }
  }
};

template <>
struct Blocks<Dtype::q5_1> {
  static constexpr int kElements = 32, kBytes = sizeof(BlockQ5_1);
  __device__ static void eight(const std::uint8_t* block, int group, float out[8]) {
    const float d = half_at(block), m = half_at(block + 2);
    const int fifth = block[4 + group];
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int byte = block[8 + 8 * (group % 2) + j];
      out[j] = affine(d, (group < 2 ? byte & 15 : byte >> 4) | ((fifth >> j) & 1) << 4, m);
    }
  }
};

template <>
struct Blocks<Dtype::q8_0> {
  static constexpr int kElements = 32, kBytes = sizeof(BlockQ8_0);
  __device__ static void eight(const std::uint8_t* block, int group, float out[8]) {
    const float d = half_at(block);
    // Blocks lie at even addresses.
    const auto* pairs = reinterpret_cast<const std::uint16_t*>(block + 2) + 4 * group;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int pair = pairs[j];
      out[2 * j] = d * small_float(static_cast<std::int8_t>(pair));
      out[2 * j + 1] = d * small_float(static_cast<std::int8_t>(pair >> 8));
    }
  }
};

template <>
struct Blocks<Dtype::q4_k> {
  static constexpr int kElements = 256, kBytes = sizeof(BlockQ4K);
  __device__ static void eight(const std::uint8_t* block, int group, float out[8]) {
    const int sub = group / 4;
    const int2 packed = packed_scale(block + 4, sub);
    const float scale = half_at(block) * static_cast<float>(packed.x);
    const float min = half_at(block + 2) * static_cast<float>(packed.y);
    const std::uint8_t* qs = block + 16 + 32 * (sub / 2) + 8 * (group % 4);
#pragma unroll
    for (int j = 0; j < 8; ++j)
      out[j] = affine(scale, sub % 2 == 0 ? qs[j] & 15 : qs[j] >> 4, -min);
  }
};

template <>
struct Blocks<Dtype::q5_k> {
  static constexpr int kElements = 256, kBytes = sizeof(BlockQ5K);
  __device__ static void eight(const std::uint8_t* block, int group, float out[8]) {
    const int sub = group / 4;
    const int2 packed = packed_scale(block + 4, sub);
    const float scale = half_at(block) * static_cast<float>(packed.x);
    const float min = half_at(block + 2) * static_cast<float>(packed.y);
    const std::uint8_t* qh = block + 16 + 8 * (group % 4);
    const std::uint8_t* qs = block + 48 + 32 * (sub / 2) + 8 * (group % 4);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int low = sub % 2 == 0 ? qs[j] & 15 : qs[j] >> 4;
      out[j] = affine(scale, low | ((qh[j] >> sub) & 1) << 4, -min);
    }
  }
};

template <>
struct Blocks<Dtype::q6_k> {
  static constexpr int kElements = 256, kBytes = sizeof(BlockQ6K);
  __device__ static void eight(const std::uint8_t* block, int group, float out[8]) {
    const int half = group / 16, quarter = group % 16 / 4, at = 8 * (group % 4);
    const std::uint8_t* ql = block + 64 * half + 32 * (quarter % 2) + at;
    const std::uint8_t* qh = block + 128 + 32 * half + at;
    const auto scale = static_cast<std::int8_t>(block[192 + group / 2]);
    const float d = half_at(block + 208) * static_cast<float>(scale);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int low = quarter < 2 ? ql[j] & 15 : ql[j] >> 4;
      out[j] = d * small_float((low | ((qh[j] >> (2 * quarter)) & 3) << 4) - 32);
    }
  }
};

// f<dtype>() of a block type; of another, nothing.
template <class F>
void visit_blocks(Dtype dtype, const F& f) {
  switch (dtype) {
    case Dtype::q4_0:
      return f.template operator()<Dtype::q4_0>();
    case Dtype::q4_1:
      return f.template operator()<Dtype::q4_1>();
    case Dtype::q5_0:
      return f.template operator()<Dtype::q5_0>();
    case Dtype::q5_1:
      return f.template operator()<Dtype::q5_1>();
    case Dtype::q8_0:
      return f.template operator()<Dtype::q8_0>();
    case Dtype::q4_k:
      return f.template operator()<Dtype::q4_k>();
    case Dtype::q5_k:
      return f.template operator()<Dtype::q5_k>();
    case Dtype::q6_k:
      return f.template operator()<Dtype::q6_k>();
    default:
      return;
  }
}

}  // namespace l2a::cuda
