// Sixteen vectors of sixteen 32-bit lanes, rows for columns.
#pragma once

#include "backends/cpu/x86.h"

#if defined(__x86_64__)

namespace l2a::x86 {

L2A_AVX512 inline void transpose(__m512i (&r)[16]) {
  __m512i t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  // Then r[i + j] holds, in its 128-bit lane l, column 4l + j of rows i to i + 3.
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // What is left is a transposition of the lanes: even ones first, then odd ones.
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    const __m512i even_top = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
    const __m512i even_bottom = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    const __m512i odd_top = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
    const __m512i odd_bottom = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
    t[j] = _mm512_shuffle_i32x4(even_top, even_bottom, 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(odd_top, odd_bottom, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(even_top, even_bottom, 0xdd);
    t[12 + j] = _mm512_shuffle_i32x4(odd_top, odd_bottom, 0xdd);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

}  // namespace l2a::x86

#endif
