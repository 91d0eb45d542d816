// AMX: eight registers of 16 rows of 64 bytes, and a product that adds to one of them those of two others,
//     c[m][n] += Σ_p a[m][2p] · b[p][2n] + a[m][2p + 1] · b[p][2n + 1],
// sixteen pairs of bf16 long, f32 inside. Operands in memory are whole tiles of 1 KiB that follow one another: `a` has 16
// rows of 32 values as they come, `b` the same with rows for columns, pairs of values staying together.
#pragma once

#include "backends/cpu/x86.h"

#if defined(__x86_64__)

namespace l2a::x86 {

inline constexpr std::int64_t kTileRows = 16;
inline constexpr std::int64_t kTileDepth = 32;  // bf16 values of a row
inline constexpr std::int64_t kTileBytes = 1024;
inline constexpr std::int64_t kTileRowBytes = 64;

// Eight whole tiles. In memory of its own, since GCC's intrinsic tells the compiler of its first bytes only.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
inline constexpr TileShapes kWholeTiles;

// The tiles of this thread, while the object lives. Released afterwards: a thread that is switched while they are in use
// has 8 KiB more to save.
class TileScope {
 public:
  L2A_AMX TileScope() { _tile_loadconfig(&kWholeTiles); }
  L2A_AMX ~TileScope() { _tile_release(); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

// What was stored before is in memory when tiles are loaded after: their intrinsics do not say that they read it.
inline void before_tile_loads() { asm volatile("" ::: "memory"); }

// Thirty-two floats as bf16, in order, rounded to nearest even.
L2A_AMX inline __m512i to_bf16(__m512 first, __m512 second) {
  const __m512bh both = _mm512_cvtne2ps_pbh(second, first);
  __m512i bits;
  std::memcpy(&bits, &both, sizeof bits);
  return bits;
}

}  // namespace l2a::x86

#endif
