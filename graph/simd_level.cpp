#include "graph/simd_level.h"

#include <array>

namespace l2a {
namespace {

constexpr std::array<SimdLevel, kSimdLevelCount> kLevels = {SimdLevel::generic, SimdLevel::avx2,
                                                            SimdLevel::avx512};

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

}  // namespace

std::string_view simd_level_name(SimdLevel level) {
  constexpr std::string_view kNames[kSimdLevelCount] = {"generic", "avx2", "avx512"};
  return kNames[static_cast<std::size_t>(level)];
}

SimdLevel best_simd_level() {
  static const SimdLevel best = detect();
  return best;
}

std::span<const SimdLevel> simd_levels() {
  return std::span(kLevels).first(static_cast<std::size_t>(best_simd_level()) + 1);
}

}  // namespace l2a
