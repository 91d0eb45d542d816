// Dot products of the types with 32 values a block (q4_0, q4_1, q5_0, q5_1, q8_0).
//
// A block costs one integer dot product, one conversion and one multiply-add, so the f16 scales
// would cost as much again; they are gathered for four blocks at a time and multiplied by four
// activation scales at once. Lanes are summed only at the end of the row.
//
// With AVX-512 one column meets four rows at once: each has sums of its own, so that none waits for another's, and what is
// to be done with the column or at the end of a row is done for all four.
//
// The offset of q4_0 and q5_0 is not subtracted from each value: Σ(q - o)x = Σqx - oΣx, and the
// activations carry Σx. So a Format tells only how to get bytes:
//     Block, kOffset, kSigned
//     quants(block)        32 bytes for AVX2 or NEON
//     quants(a, b)         64 bytes of two blocks for AVX-512
//
// NEON multiplies signed bytes and has cheap sums of neighbours: the products of four blocks become one vector of four
// sums before they are converted.
#pragma once

#include "backends/cpu/arm.h"
#include "backends/cpu/dot/dot.h"
#include "backends/cpu/x86.h"
#include "ops/blocks.h"

namespace l2a {

template <class Block, int kColumns>
void blocks32_generic(std::int64_t k, const std::byte* weights, const ActivationRow* x,
                      float* out) {
  const auto* blocks = reinterpret_cast<const Block*>(weights);
  float total[kColumns] = {};
  for (std::int64_t i = 0; i < k / 32; ++i) {
    std::int8_t q[32];
    unpack(blocks[i], q);
    for (int c = 0; c < kColumns; ++c) {
      int products = 0;
      for (int j = 0; j < 32; ++j) {
        products += q[j] * x[c].q[32 * i + j];
      }
      total[c] += blocks[i].d.value() * x[c].scale[i] * static_cast<float>(products);
      if constexpr (requires { blocks->m; }) {
        total[c] += blocks[i].m.value() * x[c].sum[i];
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    out[c] = total[c];
  }
}

#if defined(__x86_64__)

// Adds the last blocks of a row, those after `done`, to out: at most three, one at a time. Rows of
// small models end so (576 values are 18 blocks), and plain code here took a third of their time.
template <class Format, int kColumns>
L2A_AVX2 inline void blocks32_tail(std::int64_t k, std::int64_t done, const std::byte* weights,
                                   const ActivationRow* x, float* out) {
  const auto* blocks = reinterpret_cast<const typename Format::Block*>(weights);
  __m256 total[kColumns];
  for (int c = 0; c < kColumns; ++c) {
    total[c] = _mm256_setzero_ps();
  }
  for (std::int64_t i = done; i < k / 32; ++i) {
    const auto& block = blocks[i];
    const float d = x86::to_float(block.d);
    float shift = d * -Format::kOffset;
    if constexpr (requires { block.m; }) {
      shift = x86::to_float(block.m);
    }
    const __m256i q = Format::quants(block);
    const __m256i magnitude = Format::kSigned ? _mm256_abs_epi8(q) : q;
    for (int c = 0; c < kColumns; ++c) {
      __m256i v = x86::load256(x[c].q + 32 * i);
      if constexpr (Format::kSigned) {
        v = x86::with_sign_of(q, v);
      }
      const __m256 products = _mm256_cvtepi32_ps(x86::dot_bytes(magnitude, v));
      total[c] = _mm256_fmadd_ps(products, _mm256_set1_ps(d * x[c].scale[i]), total[c]);
      out[c] += shift * x[c].sum[i];
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    out[c] += x86::sum_lanes(total[c]);
  }
}

// What multiplies the activations' sums: the minimums, or the offset times the scales.
template <class Format>
L2A_AVX2 inline __m128 blocks32_shift(const typename Format::Block* b, __m128 d) {
  if constexpr (requires { b->m; }) {
    return x86::to_floats(b[0].m, b[1].m, b[2].m, b[3].m);
  } else {
    return _mm_mul_ps(d, _mm_set1_ps(-Format::kOffset));
  }
}

template <class Format, int kColumns>
L2A_AVX2 void blocks32_avx2(std::int64_t k, const std::byte* weights, const ActivationRow* x,
                            float* out) {
  using Block = typename Format::Block;
  const auto* blocks = reinterpret_cast<const Block*>(weights);
  const std::int64_t fours = k / 128 * 4;
  constexpr int kChains = kColumns == 1 ? 2 : 1;  // a lone column would wait for its own additions
  __m256 total[kColumns][kChains];
  __m128 shifted[kColumns];
  for (int c = 0; c < kColumns; ++c) {
    shifted[c] = _mm_setzero_ps();
    for (int chain = 0; chain < kChains; ++chain) {
      total[c][chain] = _mm256_setzero_ps();
    }
  }
  for (std::int64_t i = 0; i < fours; i += 4) {
    const Block* b = blocks + i;
    const __m128 d = x86::to_floats(b[0].d, b[1].d, b[2].d, b[3].d);
    // Through memory, because a broadcast load is cheaper than two shuffles.
    alignas(16) float scale[kColumns][4];
    const __m128 shift = blocks32_shift<Format>(b, d);
    for (int c = 0; c < kColumns; ++c) {
      _mm_store_ps(scale[c], _mm_mul_ps(d, _mm_loadu_ps(x[c].scale + i)));
      if constexpr (Format::kOffset != 0 || requires { b->m; }) {
        shifted[c] = _mm_fmadd_ps(shift, _mm_loadu_ps(x[c].sum + i), shifted[c]);
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const __m256i q = Format::quants(b[j]);
      const __m256i magnitude = Format::kSigned ? _mm256_abs_epi8(q) : q;
      for (int c = 0; c < kColumns; ++c) {
        __m256i v = x86::load256(x[c].q + 32 * (i + j));
        if constexpr (Format::kSigned) {
          v = x86::with_sign_of(q, v);
        }
        const __m256 products = _mm256_cvtepi32_ps(x86::dot_bytes(magnitude, v));
        __m256& sum = total[c][j % kChains];
        sum = _mm256_fmadd_ps(products, _mm256_broadcast_ss(&scale[c][j]), sum);
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    for (int chain = 1; chain < kChains; ++chain) {
      total[c][0] = _mm256_add_ps(total[c][0], total[c][chain]);
    }
    out[c] = x86::sum_lanes(total[c][0]) + x86::sum_lanes(shifted[c]);
  }
  if (fours < k / 32) {
    blocks32_tail<Format, kColumns>(k, fours, weights, x, out);
  }
}

template <class Format, int kRows, int kColumns>
L2A_AVX512 void blocks32_avx512(std::int64_t k, const std::byte* weights, std::int64_t stride,
                                const ActivationRow* x, float* out) {
  using Block = typename Format::Block;
  constexpr int kFlipped = Format::kSigned ? 128 : 0;  // what flipping the sign's bit adds
  const std::int64_t fours = k / 128 * 4;
  // Scales 0 and 1, or 2 and 3, each over the eight lanes of its block.
  const __m512i lanes[2] = {_mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
                            _mm512_setr_epi32(2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3)};
  const __m512i flip = _mm512_set1_epi8(-128);
  __m512 total[kRows * kColumns][2];
  __m128 shifted[kRows * kColumns];
  for (int i = 0; i < kRows * kColumns; ++i) {
    shifted[i] = _mm_setzero_ps();
    total[i][0] = total[i][1] = _mm512_setzero_ps();
  }
  for (std::int64_t i = 0; i < fours; i += 4) {
    __m512i v[kColumns][2], start[kColumns][2];
    for (int c = 0; c < kColumns; ++c) {
      for (int j = 0; j < 2; ++j) {
        v[c][j] = _mm512_loadu_si512(x[c].q + 32 * (i + 2 * j));
        start[c][j] = x86::products_start<kFlipped>(v[c][j]);
      }
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const auto* b = reinterpret_cast<const Block*>(weights + r * stride) + i;
      if constexpr (kRows > 1) ask_ahead(b, 4 * sizeof(Block));
      const __m128 d = x86::to_floats(b[0].d, b[1].d, b[2].d, b[3].d);
      const __m128 shift = blocks32_shift<Format>(b, d);
      __m512 scale[kColumns];
      for (int c = 0; c < kColumns; ++c) {
        scale[c] = _mm512_castps128_ps512(_mm_mul_ps(d, _mm_loadu_ps(x[c].scale + i)));
        if constexpr (Format::kOffset != 0 || requires { b->m; }) {
          __m128& sum = shifted[r * kColumns + c];
          sum = _mm_fmadd_ps(shift, _mm_loadu_ps(x[c].sum + i), sum);
        }
      }
#pragma GCC unroll 2
      for (int j = 0; j < 2; ++j) {
        __m512i q = Format::quants(b[2 * j], b[2 * j + 1]);
        if constexpr (Format::kSigned) q = _mm512_xor_si512(q, flip);
        for (int c = 0; c < kColumns; ++c) {
          const __m512 products = _mm512_cvtepi32_ps(_mm512_dpbusd_epi32(start[c][j], q, v[c][j]));
          __m512& sum = total[r * kColumns + c][j];
          sum = _mm512_fmadd_ps(products, _mm512_permutexvar_ps(lanes[j], scale[c]), sum);
        }
      }
    }
  }
  __m512 sums[kRows * kColumns];
  for (int i = 0; i < kRows * kColumns; ++i)
    sums[i] =
        _mm512_add_ps(_mm512_add_ps(total[i][0], total[i][1]), _mm512_zextps128_ps512(shifted[i]));
  x86::store_sums(sums, out);
  if (fours < k / 32) {
    for (int r = 0; r < kRows; ++r)
      blocks32_tail<Format, kColumns>(k, fours, weights + r * stride, x, out + r * kColumns);
  }
}

#elif defined(__aarch64__)

template <class Format, int kColumns>
L2A_DOTPROD void blocks32_neon(std::int64_t k, const std::byte* weights, const ActivationRow* x,
                               float* out) {
  using Block = typename Format::Block;
  constexpr bool kMins = requires(Block b) { b.m; };
  const auto* blocks = reinterpret_cast<const Block*>(weights);
  const std::int64_t fours = k / 128 * 4;
  float32x4_t total[kColumns];
  for (int c = 0; c < kColumns; ++c) total[c] = vdupq_n_f32(0);
  for (std::int64_t i = 0; i < fours; i += 4) {
    const Block* b = blocks + i;
    const float32x4_t d = arm::to_floats(b[0].d, b[1].d, b[2].d, b[3].d);
    float32x4_t shift = vmulq_n_f32(d, -Format::kOffset);
    if constexpr (kMins) shift = arm::to_floats(b[0].m, b[1].m, b[2].m, b[3].m);
    int8x16x2_t q[4];
    for (int j = 0; j < 4; ++j) q[j] = Format::quants(b[j]);
    for (int c = 0; c < kColumns; ++c) {
      int32x4_t products[4];
      for (int j = 0; j < 4; ++j)
        products[j] = arm::dot_bytes(q[j], arm::load32(x[c].q + 32 * (i + j)));
      const float32x4_t scale = vmulq_f32(d, vld1q_f32(x[c].scale + i));
      total[c] = vfmaq_f32(total[c], vcvtq_f32_s32(arm::sums_of(products)), scale);
      if constexpr (kMins || Format::kOffset != 0) {
        total[c] = vfmaq_f32(total[c], shift, vld1q_f32(x[c].sum + i));
      }
    }
  }
  for (int c = 0; c < kColumns; ++c) out[c] = vaddvq_f32(total[c]);
  // The last blocks of a row, at most three.
  for (std::int64_t i = fours; i < k / 32; ++i) {
    const Block& b = blocks[i];
    const float d = arm::to_float(b.d);
    float shift = d * -Format::kOffset;
    if constexpr (kMins) shift = arm::to_float(b.m);
    const int8x16x2_t q = Format::quants(b);
    for (int c = 0; c < kColumns; ++c) {
      const int products = vaddvq_s32(arm::dot_bytes(q, arm::load32(x[c].q + 32 * i)));
      out[c] += d * x[c].scale[i] * static_cast<float>(products) + shift * x[c].sum[i];
    }
  }
}

#endif

template <class Format>
QuantizedDot blocks32_dot([[maybe_unused]] SimdLevel level) {
#if defined(__x86_64__)
  if (level >= SimdLevel::avx512) {
    return rows_dot<blocks32_avx512<Format, 1, 1>, blocks32_avx512<Format, 4, 1>,
                    blocks32_avx512<Format, 1, 4>>();
  }
  if (level == SimdLevel::avx2) {
    return quantized_dot<blocks32_avx2<Format, 1>, blocks32_avx2<Format, 4>>();
  }
#elif defined(__aarch64__)
  if (level == SimdLevel::neon) {
    return quantized_dot<blocks32_neon<Format, 1>, blocks32_neon<Format, 4>>();
  }
#endif
  using Block = typename Format::Block;
  return quantized_dot<blocks32_generic<Block, 1>, blocks32_generic<Block, 4>>();
}

}  // namespace l2a
