#include "backends/cpu/simd.h"

#include <array>

#include "backends/cpu/dot/dot.h"
#include "backends/cpu/panel/tile_panel.h"
#include "backends/cpu/vector_ops.h"

namespace l2a {
namespace {

void set_panels(SimdLevel level, PanelKernel (&panels)[kDtypeCount]) {
  const auto panel = [&](Dtype dtype) -> PanelKernel& {
    return panels[static_cast<std::size_t>(dtype)];
  };
  panel(Dtype::q4_0) = q4_0_panel(level);
  panel(Dtype::q4_1) = q4_1_panel(level);
  panel(Dtype::q5_0) = q5_0_panel(level);
  panel(Dtype::q5_1) = q5_1_panel(level);
  panel(Dtype::q8_0) = q8_0_panel(level);
  panel(Dtype::q4_k) = q4_k_panel(level);
  panel(Dtype::q5_k) = q5_k_panel(level);
  panel(Dtype::q6_k) = q6_k_panel(level);
  panel(Dtype::f32) = f32_panel(level);
  panel(Dtype::f16) = f16_panel(level);
  panel(Dtype::bf16) = bf16_panel(level);
}

SimdKernels make_kernels(SimdLevel level) {
  SimdKernels kernels{};
  kernels.level = level;
  const auto quantized = [&](Dtype dtype) -> QuantizedDot& {
    return kernels.quantized[static_cast<std::size_t>(dtype)];
  };
  const auto floating = [&](Dtype dtype) -> FloatRow& {
    return kernels.floating[static_cast<std::size_t>(dtype)];
  };
  quantized(Dtype::q4_0) = q4_0_dot(level);
  quantized(Dtype::q4_1) = q4_1_dot(level);
  quantized(Dtype::q5_0) = q5_0_dot(level);
  quantized(Dtype::q5_1) = q5_1_dot(level);
  quantized(Dtype::q8_0) = q8_0_dot(level);
  quantized(Dtype::q4_k) = q4_k_dot(level);
  quantized(Dtype::q5_k) = q5_k_dot(level);
  quantized(Dtype::q6_k) = q6_k_dot(level);
  floating(Dtype::f32) = f32_row(level);
  floating(Dtype::f16) = f16_row(level);
  floating(Dtype::bf16) = bf16_row(level);
  floating(Dtype::q8_0) = q8_0_row(level);
  set_panels(level, kernels.panels);
  if (level == SimdLevel::amx) {
    set_panels(SimdLevel::avx512, kernels.small_panels);
    kernels.panel_tokens = kTilePanelFrom;
  }
  kernels.attention = attention_kernels(level);
  set_vector_ops(level, kernels);
#if defined(__x86_64__)
  if (level == SimdLevel::amx) kernels.store_tile_activation = store_tile_activation;
#endif
  return kernels;
}

}  // namespace

const SimdKernels& simd_kernels(SimdLevel level) {
  static const std::array<SimdKernels, kSimdLevelCount> tables = {
      make_kernels(SimdLevel::generic), make_kernels(SimdLevel::neon),
      make_kernels(SimdLevel::avx2), make_kernels(SimdLevel::avx512), make_kernels(SimdLevel::amx)};
  return tables[static_cast<std::size_t>(level)];
}

}  // namespace l2a
