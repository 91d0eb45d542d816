// The arithmetic of attention over tiles of f32, by instruction set.
//
// A tile holds up to `max_rows` query rows, one a vector lane, and everything of it is stored with the rows innermost:
// queries [dim][rows], scores [keys][rows], output [dim][rows]. Keys and values are then only ever broadcast, so they
// need no transposition; the running maximum and sum are vertical; and both products of attention are the same one.
#pragma once

#include <cstdint>
#include <limits>

#include "graph/simd_level.h"

namespace l2a {

// What a running maximum starts at: below every score, and finite, because infinity minus itself is no number.
inline constexpr float kNoScore = std::numeric_limits<float>::lowest();

// c[i][r] = c[i][r] * rescale[r] + Σ_k a[i * a_step + k * a_next] * b[k][r], in steps of kTileStep for i: `a` and `c`
// must have so many, whatever they hold there.
inline constexpr std::int64_t kTileStep = 4;
struct TileProduct {
  std::int64_t outputs, terms;  // i and k run to these
  const float* a;
  std::int64_t a_step, a_next;
  const float* b;        // [terms][rows]
  float* c;              // [outputs][rows]
  const float* rescale;  // [rows]; null: c is only written
};

// One step of the softmax of arXiv 2205.14135: scores become their exponentials, and `rescale` is what earlier
// results must be multiplied by. Row r sees the keys [0, sinks_end[r]) and [begin[r], end[r]).
struct TileSoftmax {
  float* scores;  // [keys][rows]
  std::int64_t keys;
  float *largest, *sum, *rescale;               // [rows]
  bool all_visible;                             // no row needs the limits
  std::int32_t first;                           // position of the first key
  const std::int32_t *sinks_end, *begin, *end;  // [rows]
};

struct AttentionKernels {
  std::int64_t lanes;     // rows of a tile are a multiple of this
  std::int64_t max_rows;  // and at most this
  // By rows / lanes - 1.
  void (*product[4])(const TileProduct& p);
  void (*softmax)(std::int64_t rows, const TileSoftmax& s);
  // out[i] = Σ_d query[d] * rows[i * stride + d]
  void (*dots)(std::int64_t dim, std::int64_t count, const float* query, const float* rows,
               std::int64_t stride, float* out);
  // y[d] = y[d] * rescale + Σ_i weights[i] * rows[i * stride + d]
  void (*weighted_sum)(std::int64_t dim, std::int64_t count, const float* weights,
                       const float* rows, std::int64_t stride, float rescale, float* y);
};

AttentionKernels attention_kernels(SimdLevel level);

}  // namespace l2a
