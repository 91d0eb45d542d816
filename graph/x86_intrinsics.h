// x86's vector intrinsics, and how a function is compiled for a level of them.
//
// Each function carries its instruction set as an attribute, so that no source file needs flags of
// its own and one program runs on every machine.
#pragma once

#if defined(__x86_64__)

// GCC 12 warns of its own headers' deliberately undefined registers (GCC bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#else
#include <immintrin.h>
#endif

#define L2A_AVX2 [[gnu::target("avx2,fma,f16c")]]
#define L2A_AVX512 [[gnu::target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]]
#define L2A_AMX                                                                 \
  [[gnu::target(                                                                \
      "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16," \
      "amx-tile,amx-bf16,amx-int8")]]

#endif
