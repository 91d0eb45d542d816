// The inner loops of every searching encoder: sixteen (scale, offset) pairs tried on one block at
// once, one pair a vector lane.
//
// A quantized block is value = scale · q + offset with small integer q. Given the pair, the best q
// is the nearest one; given the q, the best pair is a weighted least-squares solution. `refine`
// alternates the two from sixteen starting pairs, `measure` says how wrong sixteen pairs are that
// must be taken as they are, because they are what the file can hold.
//
// With candidates in lanes instead of values, a value is a broadcast, sums stay in their lane,
// and nothing is ever added across lanes: every level computes the same bits, and so do files made
// on different machines. (For that, this folder is compiled without contraction to fused
// multiply-adds.)
#pragma once

#include "convert/encode/block.h"
#include "graph/simd_level.h"

namespace l2a::encode {

inline constexpr int kCandidates = 16;

struct Candidates {
  alignas(64) float scale[kCandidates];  // 0: every q is the code nearest to 0
  alignas(64) float offset[kCandidates];
  alignas(64) float error[kCandidates];  // Σ weight · (value - scale · q - offset)²

  int best() const;  // the first with the least error
};

enum class Fit {
  scale,                        // offset stays 0
  scale_and_offset,             // any offset
  scale_and_offset_not_above_0  // the K types store a minimum's magnitude
};

struct GridSearch {
  // Each round assigns codes and refits; errors are those of the last refit with its own codes.
  void (*refine)(const Block& block, CodeRange codes, Fit fit, int rounds, Candidates& candidates);
  void (*measure)(const Block& block, CodeRange codes, Candidates& candidates);
};

// `level` must be one that this machine has.
const GridSearch& grid_search(SimdLevel level);

}  // namespace l2a::encode
