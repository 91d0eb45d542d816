#include "graph/simd_level.h"

#include <algorithm>
#include <array>

#if defined(__x86_64__)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace l2a {
namespace {

#if defined(__x86_64__)

// Those of this architecture, worst first.
constexpr std::array kLevels = {SimdLevel::generic, SimdLevel::avx2, SimdLevel::avx512,
                                SimdLevel::amx};

// Tiles are 8 KiB of registers, which Linux saves only for processes that have asked; the answer is no
// where the kernel or the virtual machine does not know them. Elsewhere nobody is asked: no AMX.
bool may_use_tiles() {
#if defined(__linux__) && defined(SYS_arch_prctl)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

// By CPUID, because __builtin_cpu_supports of GCC 12 and Clang 14 does not know these names.
bool has_amx() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  constexpr unsigned kAll = kBf16 | kTile | kInt8;
  if ((d & kAll) != kAll) return false;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned kAvx512Bf16 = 1u << 5;
  return (a & kAvx512Bf16) != 0 && may_use_tiles();
}

#else

constexpr std::array kLevels = {SimdLevel::generic, SimdLevel::neon};

#endif

// __builtin_cpu_supports also knows which registers the operating system saves. F16C has no name in
// Clang 14's; it is older than AVX2, and every processor with the one has the other. ARM processors do not tell programs
// what they have; Linux does, and elsewhere nobody is asked.
SimdLevel detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512vnni");
    if (!avx512) return SimdLevel::avx2;
    return has_amx() ? SimdLevel::amx : SimdLevel::avx512;
  }
#elif defined(__aarch64__) && defined(__linux__)
  if ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0) return SimdLevel::neon;
#endif
  return SimdLevel::generic;
}

}  // namespace

std::string_view simd_level_name(SimdLevel level) {
  constexpr std::string_view kNames[kSimdLevelCount] = {"generic", "neon", "avx2", "avx512", "amx"};
  return kNames[static_cast<std::size_t>(level)];
}

SimdLevel best_simd_level() {
  static const SimdLevel best = detect();
  return best;
}

std::span<const SimdLevel> simd_levels() {
  const auto best = std::find(kLevels.begin(), kLevels.end(), best_simd_level());
  return {kLevels.begin(), best + 1};
}

}  // namespace l2a
