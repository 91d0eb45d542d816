// Levels of instruction sets that vector code is written for and chosen from at run time.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace l2a {

// Every level has a name on every machine. `>=` orders those of one architecture; ARM's only level stands below all of
// x86's, so that no comparison with one of those takes it in.
enum class SimdLevel : std::uint8_t {
  generic,  // plain C++, any machine
  neon,     // of 64-bit ARM, with the dot products of bytes that ARMv8.2 may have
  avx2,     // AVX2, FMA, F16C
  avx512,   // F, BW, VL, DQ, VNNI
  amx,      // AMX's tiles of bf16 and int8, beside AVX-512 with BF16
};
inline constexpr int kSimdLevelCount = 5;

std::string_view simd_level_name(SimdLevel level);
SimdLevel best_simd_level();               // of this machine
std::span<const SimdLevel> simd_levels();  // every level this machine has, worst first

}  // namespace l2a
