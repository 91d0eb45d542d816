// The dot products of each dtype, a file each: <dtype>.cpp holds the version of every level.
#pragma once

#include "backends/cpu/simd.h"

namespace l2a {

QuantizedDot q4_0_dot(SimdLevel level);
QuantizedDot q4_1_dot(SimdLevel level);
QuantizedDot q5_0_dot(SimdLevel level);
QuantizedDot q5_1_dot(SimdLevel level);
QuantizedDot q8_0_dot(SimdLevel level);
QuantizedDot q4_k_dot(SimdLevel level);
QuantizedDot q5_k_dot(SimdLevel level);
QuantizedDot q6_k_dot(SimdLevel level);

FloatRow f32_row(SimdLevel level);
FloatRow f16_row(SimdLevel level);
FloatRow bf16_row(SimdLevel level);
FloatRow q8_0_row(SimdLevel level);  // caches

// A kernel computes kColumns results: void(k, weights, x, out). These are its two faces.
template <auto kKernel>
float one_column(std::int64_t k, const std::byte* weights, const ActivationRow& x) {
  float out;
  kKernel(k, weights, &x, &out);
  return out;
}

template <auto kOne, auto kFour>
constexpr QuantizedDot quantized_dot() {
  return {one_column<kOne>, kFour};
}

}  // namespace l2a
