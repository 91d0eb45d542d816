// y[t, n] = x[t] . w[n], as matvec.comp, for devices that are CPUs: there the loads of
// neighbouring lanes are no cheaper than others, so every lane has kRows rows of its own, and x is the
// same for all lanes. Of more tokens than a group has, other groups read the rows again.
//
// That reads as many rows at once as a group has, a chunk of each at a time, which is more than hardware
// keeps track of where chunks are half a cache line. So of quantized rows, which follow one another in
// memory, a group first reads one word of each line, in order: what comes after finds them in the cache.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
#include "weights.glsl"
layout(constant_id = 3) const uint kRows = 4;
layout(constant_id = 4) const uint kTokens = 1;
layout(constant_id = 5) const bool kCompact = false;
layout(constant_id = 6) const bool kShareX = false;  // a lane loads a vector of x for all; 8 lanes or more
layout(push_constant, scalar) uniform Push {
  uint64_t weight, x, y, rows, row_bytes;
  uint width, outputs, tokens, zero;
};
const uint kCacheLine = 64;

// What is read is only kept from being optimised away.
float touch(uint64_t begin, uint64_t bytes) {
  uint all = 0;
  const uint lines = uint(bytes / kCacheLine);
  for (uint i = lane(); i < lines; i += lanes()) all |= U32(begin + i * kCacheLine).v[0];
  return float(all & zero);
}


vec4 load_x(uint64_t row, uint i) {
  return kWholeChunks || 4 * i < width ? load4(row, i, width, kAligned) : vec4(0);
}

void main() {
  const uint first_row = (group_x() * lanes() + lane()) * kRows;
  const uint first_token = gl_WorkGroupID.y * kTokens;
  const uint count = active_rows(kCompact, rows, tokens);
  uint64_t w_row[kRows], x_row[kTokens];
  // Past the end, the last row again: its sum is not kept.
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    w_row[r] = weight + row_bytes * min(first_row + r, outputs - 1);
  }
  [[unroll]] for (uint t = 0; t < kTokens; ++t) {
    x_row[t] = x + uint64_t(min(first_token + t, count - 1)) * (width * 4);
  }
  const uint group_row = min(group_x() * lanes() * kRows, outputs);
  float start = 0;
  if (kWholeChunks) {
    start = touch(weight + row_bytes * group_row,
                  row_bytes * min(outputs - group_row, lanes() * kRows));
  }
  float sums[kRows][kTokens];
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    [[unroll]] for (uint t = 0; t < kTokens; ++t) sums[r][t] = start;
  }
  for (uint c = 0; c * kChunk < width; ++c) {
    Chunk chunk[kRows];
    [[unroll]] for (uint r = 0; r < kRows; ++r) chunk[r] = load_chunk(w_row[r], c, width);
    vec4 x_lane[kTokens];
    [[unroll]] for (uint t = 0; t < kTokens; ++t) {
      if (kShareX) x_lane[t] = load_x(x_row[t], 8 * c + lane() % 8);
    }
    [[unroll]] for (uint i = 0; i < 8; ++i) {
      vec4 values[kRows];
      [[unroll]] for (uint r = 0; r < kRows; ++r) values[r] = chunk_integers(chunk[r], i);
      [[unroll]] for (uint t = 0; t < kTokens; ++t) {
        const vec4 xs = kShareX ? subgroupBroadcast(x_lane[t], i) : load_x(x_row[t], 8 * c + i);
        [[unroll]] for (uint r = 0; r < kRows; ++r) {
          sums[r][t] += chunk_scale(chunk[r], i / 4) * dot(values[r], xs);
          if (kHasMinimum) sums[r][t] -= chunk_minimum(chunk[r]) * dot(xs, vec4(1));
        }
      }
    }
  }
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    [[unroll]] for (uint t = 0; t < kTokens; ++t) {
      if (first_row + r < outputs && first_token + t < count) {
        F32(y).v[(first_token + t) * outputs + first_row + r] = sums[r][t];
      }
    }
  }
}
