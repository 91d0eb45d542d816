// y[t, n] = x[t] . w[n] for many tokens: bound by arithmetic. A workgroup computes a tile of outputs;
// its weights are expanded to f32 in shared memory once, 32 columns at a time, and each lane keeps a
// small tile of sums in registers. Rows of shared memory are nine vectors apart, so that lanes on
// neighbouring rows meet different banks.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
#include "weights.glsl"
layout(constant_id = 3) const uint kLaneRows = 16;    // lanes along the weight's rows
layout(constant_id = 4) const uint kLaneTokens = 8;   // and along the tokens
layout(constant_id = 5) const uint kRows = 4;         // sums of a lane
layout(constant_id = 6) const uint kTokens = 8;
layout(constant_id = 7) const bool kCompact = false;
layout(push_constant, scalar) uniform Push {
  uint64_t weight, x, y, rows, row_bytes;
  uint width, outputs, tokens, unused;
};
const uint kPitch = 9;
shared vec4 w_tile[kLaneRows * kRows * kPitch];
shared vec4 x_tile[kLaneTokens * kTokens * kPitch];

void main() {
  const uint first_row = group_x() * (kLaneRows * kRows);
  const uint first_token = gl_WorkGroupID.y * (kLaneTokens * kTokens);
  if (first_row >= outputs) return;
  const uint count = active_rows(kCompact, rows, tokens);
  const uint lane_row = lane() % kLaneRows, lane_token = lane() / kLaneRows;
  float sums[kRows][kTokens];
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    [[unroll]] for (uint t = 0; t < kTokens; ++t) sums[r][t] = 0;
  }
  for (uint c = 0; c * kChunk < width; ++c) {
    for (uint r = lane(); r < kLaneRows * kRows; r += lanes()) {
      const uint64_t row = weight + row_bytes * min(first_row + r, outputs - 1);
      const Chunk chunk = load_chunk(row, c, width);
      [[unroll]] for (uint i = 0; i < 8; ++i) w_tile[r * kPitch + i] = chunk_values(chunk, i);
    }
    for (uint k = lane(); k < kLaneTokens * kTokens * 8; k += lanes()) {
      const uint t = k / 8, i = k % 8;
      const uint64_t row = x + uint64_t(min(first_token + t, count - 1)) * (width * 4);
      const bool inside = kWholeChunks || c * kChunk + 4 * i < width;
      x_tile[t * kPitch + i] = inside ? load4(row, 8 * c + i, width, kAligned) : vec4(0);
    }
    barrier();
    for (uint i = 0; i < 8; ++i) {
      vec4 w[kRows];
      [[unroll]] for (uint r = 0; r < kRows; ++r) {
        w[r] = w_tile[(lane_row + r * kLaneRows) * kPitch + i];
      }
      [[unroll]] for (uint t = 0; t < kTokens; ++t) {
        const vec4 xs = x_tile[(lane_token + t * kLaneTokens) * kPitch + i];
        [[unroll]] for (uint r = 0; r < kRows; ++r) sums[r][t] += dot(w[r], xs);
      }
    }
    barrier();
  }
  [[unroll]] for (uint t = 0; t < kTokens; ++t) {
    const uint token = first_token + lane_token + t * kLaneTokens;
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      const uint row = first_row + lane_row + r * kLaneRows;
      if (token < count && row < outputs) F32(y).v[token * outputs + row] = sums[r][t];
    }
  }
}
