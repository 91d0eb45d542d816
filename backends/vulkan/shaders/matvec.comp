// y[t, n] = x[t] . w[n] for a few tokens: bound by reading the weights once. A workgroup, one subgroup
// wide, takes kRows rows of weights; its lanes stride over the chunks of the rows, so that each load of x
// serves all of them, and their sums meet at the end.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
#include "weights.glsl"
layout(constant_id = 2) const bool kAligned = true;
layout(constant_id = 3) const uint kRows = 4;
layout(constant_id = 4) const uint kTokens = 1;
layout(push_constant, scalar) uniform Push {
  uint64_t weight, x, y, rows, row_bytes;
  uint width, outputs, tokens, unused;
};
void main() {
  const uint first_row = group_x() * kRows, first_token = gl_WorkGroupID.y * kTokens;
  if (first_row >= outputs) return;
  const uint count = active_rows(rows, tokens);
  uint64_t w_row[kRows], x_row[kTokens];
  // Past the end, the last row again: its sum is not kept.
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    w_row[r] = weight + row_bytes * min(first_row + r, outputs - 1);
  }
  [[unroll]] for (uint t = 0; t < kTokens; ++t) {
    x_row[t] = x + uint64_t(min(first_token + t, count - 1)) * (width * 4);
  }
  float sums[kRows][kTokens];
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    [[unroll]] for (uint t = 0; t < kTokens; ++t) sums[r][t] = 0;
  }
  for (uint c = lane(); c * kChunk < width; c += lanes()) {
    Chunk chunk[kRows];
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      chunk[r] = load_chunk(w_row[r], c, width, kAligned);
    }
    [[unroll]] for (uint part = 0; part < 2; ++part) {
      float dots[kRows][kTokens], x_sum[kTokens];
      [[unroll]] for (uint t = 0; t < kTokens; ++t) {
        x_sum[t] = 0;
        [[unroll]] for (uint r = 0; r < kRows; ++r) dots[r][t] = 0;
      }
      [[unroll]] for (uint i = 4 * part; i < 4 * part + 4; ++i) {
        vec4 values[kRows];
        [[unroll]] for (uint r = 0; r < kRows; ++r) values[r] = chunk_integers(chunk[r], i);
        [[unroll]] for (uint t = 0; t < kTokens; ++t) {
          const bool inside = kWholeChunks || c * kChunk + 4 * i < width;
          const vec4 xs = inside ? load4(x_row[t], 8 * c + i, width, kAligned) : vec4(0);
          if (kHasMinimum) x_sum[t] += dot(xs, vec4(1));
          [[unroll]] for (uint r = 0; r < kRows; ++r) dots[r][t] += dot(values[r], xs);
        }
      }
      [[unroll]] for (uint r = 0; r < kRows; ++r) {
        [[unroll]] for (uint t = 0; t < kTokens; ++t) {
          sums[r][t] += chunk_scale(chunk[r], part) * dots[r][t];
          if (kHasMinimum) sums[r][t] -= chunk_minimum(chunk[r]) * x_sum[t];
        }
      }
    }
  }
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    [[unroll]] for (uint t = 0; t < kTokens; ++t) {
      const float sum = subgroupAdd(sums[r][t]);
      if (lane() == 0 && first_row + r < outputs && first_token + t < count) {
        F32(y).v[(first_token + t) * outputs + first_row + r] = sum;
      }
    }
  }
}
