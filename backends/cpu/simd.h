// The CPU's vector kernels, chosen at run time. One table a level; every entry of every table works
// on rows of any length its dtype allows and at any address.
//
// Not here: threads, tensors, shapes. These are inner loops; callers have checked their arguments.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/activation.h"
#include "backends/cpu/attention/tile.h"
#include "backends/cpu/panel/panel.h"
#include "graph/dtype.h"
#include "graph/simd_level.h"

namespace l2a {

// Weight row times quantized activations. k is a whole number of weight blocks.
struct QuantizedDot {
  float (*dot)(std::int64_t k, const std::byte* weights, const ActivationRow& x);
  // Four rows, `stride` bytes apart. Asks for what lies behind them: those rows are expected to be next.
  void (*rows4)(std::int64_t k, const std::byte* weights, std::int64_t stride,
                const ActivationRow& x, float out[4]);
  // Four columns at once: weights are unpacked once for all four.
  void (*dot4)(std::int64_t k, const std::byte* weights, const ActivationRow x[4], float out[4]);
};

// What heads of queries that share a key head see of a cache: `dim` values, a multiple of 16, `offset` bytes into each of
// `count` rows.
struct GroupRows {
  std::int64_t dim, heads;
  const std::byte* const* rows;
  std::int64_t offset, count;
};

// f32, f16 and bf16 rows of any length, and q8_0 rows of whole blocks, against f32 vectors; accumulated in f32.
struct FloatRow {
  float (*dot)(std::int64_t k, const std::byte* row, const float* x);
  void (*dot4)(std::int64_t k, const std::byte* row, const float* const x[4], float out[4]);
  void (*axpy)(std::int64_t n, float a, const std::byte* row, float* y);  // y += a * row
  void (*to_f32)(std::int64_t n, const std::byte* row, float* out);
  void (*from_f32)(std::int64_t n, const float* x, std::byte* row);  // rounds to nearest even
  // Null below AVX-512. out[h * out_stride + i] = query h · row i; strides in floats.
  void (*group_dots)(const GroupRows& g, const float* queries, std::int64_t query_stride,
                     float* out, std::int64_t out_stride) = nullptr;
  // y[h] = y[h] * rescale[h] + Σ_i weights[h * weight_stride + i] * row i; the y follow one another.
  void (*group_sums)(const GroupRows& g, const float* weights, std::int64_t weight_stride,
                     const float* rescale, float* y) = nullptr;
};

struct SimdKernels {
  SimdLevel level;
  QuantizedDot quantized[kDtypeCount];  // by Dtype; null for the plain types
  FloatRow floating[kDtypeCount];       // by Dtype; null for all but f32, f16, bf16, q8_0
  AttentionKernels attention;

  PanelKernel panels[kDtypeCount];  // by Dtype; none below AVX-512
  // The same for fewer than panel_tokens, which would leave AMX's tiles half empty: AVX-512's.
  PanelKernel small_panels[kDtypeCount];
  std::int64_t panel_tokens = 0;

  // A block with an infinity or NaN gets a NaN scale, so that its products are NaN too. `bias`, 0 or
  // -128, is added to each q, modulo 256: -128 makes them unsigned bytes for panels.
  void (*quantize_activation_row)(std::int64_t k, const float* x, std::int8_t bias,
                                  ActivationRow out);
  // A row of f32 as row `token` of tiles of bf16 (panel/tile_panel.h); null below AMX.
  void (*store_tile_activation)(std::int64_t k, const float* x, std::int64_t token, std::byte* to);
  float (*sum_of_squares)(std::int64_t n, const float* x);
  float (*max)(std::int64_t n, const float* x);  // -infinity when n is 0
  // x[i] = exp(x[i] - shift); returns their sum. Every x[i] <= shift.
  float (*exp_and_sum)(std::int64_t n, float shift, float* x);
  void (*silu_mul)(std::int64_t n, const float* gate, const float* up, float* out);
  void (*scale_by)(std::int64_t n, const float* x, float scale, const float* weight,
                   float* out);  // out[i] = x[i] * scale * weight[i]
  // Turns x[p] and x[p + pairs] by the angle whose cosine and sine are table[2 p] and table[2 p + 1]. In place, too.
  void (*turn_halves)(std::int64_t pairs, const float* x, const float* table, float* out);

  const QuantizedDot& quantized_dot(Dtype dtype) const {
    return quantized[static_cast<std::size_t>(dtype)];
  }
  const PanelKernel& panel(Dtype dtype, std::int64_t tokens = kAnyTokens) const {
    return (tokens < panel_tokens ? small_panels : panels)[static_cast<std::size_t>(dtype)];
  }
  const FloatRow& float_row(Dtype dtype) const { return floating[static_cast<std::size_t>(dtype)]; }
};

// `level` must be one that this machine has.
const SimdKernels& simd_kernels(SimdLevel level);

}  // namespace l2a
