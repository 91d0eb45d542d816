// Where the searches start: chosen by measured error on Gaussian and on trained weights.
#pragma once

#include "convert/encode/grid_search.h"

namespace l2a::encode {

// Eight scales of both signs, from those that give the largest magnitude a code a little inside
// the range to those that cut it off, which most blocks are better for.
inline void start_scales(const Block& block, CodeRange codes, Candidates& candidates) {
  const float top = -block.low >= block.high ? block.low : block.high;
  for (int i = 0; i < kCandidates; ++i) {
    const int pair = i / 2;
    const float reach = 0.85f + 0.05f * static_cast<float>(pair);
    const float scale = top / (codes.lowest * reach);
    candidates.scale[i] = i % 2 == 0 ? scale : -scale;
    candidates.offset[i] = 0.0f;
  }
}

// Ranges from a little wider than that of the values to narrower ones, at both ends. More codes
// want finer starts: refits move a range by less than a code's width.
inline void start_ranges(float low, float high, CodeRange codes, Candidates& candidates) {
  const bool coarse = codes.highest < 16.0f;
  const float first = coarse ? -0.04f : -0.03f;
  const float step = coarse ? 0.03f : 0.02f;
  const float range = high - low;
  for (int i = 0; i < kCandidates; ++i) {
    const float below = first + step * static_cast<float>(i % 4);
    const int row = i / 4;
    const float above = first + step * static_cast<float>(row);
    candidates.scale[i] = range * (1.0f - below - above) / codes.highest;
    candidates.offset[i] = low + range * below;
  }
}

}  // namespace l2a::encode
