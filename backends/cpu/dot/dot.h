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

// How far ahead of a product of one token quantized weights are asked for, into the second-level cache. Processors look
// ahead by themselves, but not over the end of a page, and products leave them little time.
inline constexpr std::int64_t kAhead = 8192;

// Asked for a few lines at a time between products: asked for in one go they fill all places for loads that wait, and a
// thread reads 11 instead of 13 GB/s.
inline void ask_ahead(const void* from, std::size_t bytes) {
  const auto* p = static_cast<const std::byte*>(from) + kAhead;
  for (std::size_t at = 0; at < bytes; at += 64) __builtin_prefetch(p + at, 0, 2);
}

// A kernel computes kColumns results: void(k, weights, x, out). These are its two faces.
template <auto kKernel>
float one_column(std::int64_t k, const std::byte* weights, const ActivationRow& x) {
  float out;
  kKernel(k, weights, &x, &out);
  return out;
}

// Of levels that have no better way with four rows than one after the other.
template <auto kKernel>
void four_rows(std::int64_t k, const std::byte* weights, std::int64_t stride,
               const ActivationRow& x, float* out) {
  for (int r = 0; r < 4; ++r, weights += stride) {
    ask_ahead(weights, static_cast<std::size_t>(stride));
    kKernel(k, weights, &x, out + r);
  }
}

template <auto kOne, auto kFour>
constexpr QuantizedDot quantized_dot() {
  return {one_column<kOne>, four_rows<kOne>, kFour};
}

// Of kernels that take rows too: void(k, weights, stride, x, out).
template <auto kOne, auto kFourRows, auto kFourColumns>
constexpr QuantizedDot rows_dot() {
  return {[](std::int64_t k, const std::byte* weights, const ActivationRow& x) {
            float out;
            kOne(k, weights, 0, &x, &out);
            return out;
          },
          [](std::int64_t k, const std::byte* weights, std::int64_t stride, const ActivationRow& x,
             float* out) { kFourRows(k, weights, stride, &x, out); },
          [](std::int64_t k, const std::byte* weights, const ActivationRow* x, float* out) {
            kFourColumns(k, weights, 0, x, out);
          }};
}

}  // namespace l2a
