#include "backends/cpu/simd.h"

#include <array>

#include "backends/cpu/dot/dot.h"
#include "backends/cpu/vector_ops.h"

namespace l2a {
namespace {

constexpr std::array kLevels = {SimdLevel::generic, SimdLevel::avx2, SimdLevel::avx512};

// __builtin_cpu_supports also knows which registers the operating system saves. F16C has no name in
// Clang 14's; it is older than AVX2, and every processor with the one has the other.
SimdLevel detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    return avx512 ? SimdLevel::avx512 : SimdLevel::avx2;
  }
#endif
  return SimdLevel::generic;
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
  set_vector_ops(level, kernels);
  return kernels;
}

}  // namespace

std::string_view simd_level_name(SimdLevel level) {
  constexpr std::string_view kNames[] = {"generic", "avx2", "avx512"};
  return kNames[static_cast<std::size_t>(level)];
}

SimdLevel best_simd_level() {
  static const SimdLevel best = detect();
  return best;
}

std::span<const SimdLevel> simd_levels() {
  return std::span(kLevels).first(static_cast<std::size_t>(best_simd_level()) + 1);
}

const SimdKernels& simd_kernels(SimdLevel level) {
  static const std::array<SimdKernels, kLevels.size()> tables = {make_kernels(SimdLevel::generic),
                                                                 make_kernels(SimdLevel::avx2),
                                                                 make_kernels(SimdLevel::avx512)};
  return tables[static_cast<std::size_t>(level)];
}

}  // namespace l2a
