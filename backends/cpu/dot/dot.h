// The dot products of each dtype, a file each: <dtype>.cpp holds the version of every level.
#pragma once

#include "backends/cpu/panel/panel.h"
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

PanelKernel q4_0_panel(SimdLevel level);
PanelKernel q4_1_panel(SimdLevel level);
PanelKernel q5_0_panel(SimdLevel level);
PanelKernel q5_1_panel(SimdLevel level);
PanelKernel q8_0_panel(SimdLevel level);
PanelKernel q4_k_panel(SimdLevel level);
PanelKernel q5_k_panel(SimdLevel level);
PanelKernel q6_k_panel(SimdLevel level);
PanelKernel f32_panel(SimdLevel level);
PanelKernel f16_panel(SimdLevel level);
PanelKernel bf16_panel(SimdLevel level);

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
