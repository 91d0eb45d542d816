// y[t] = row ids[t] of a table of weights.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
#include "weights.glsl"
layout(push_constant, scalar) uniform Push {
  uint64_t table, ids, y, row_bytes;
  uint width, unused;
};
void main() {
  const uint c = group_x() * lanes() + lane(), t = gl_WorkGroupID.y;
  if (c * kChunk >= width) return;
  const Chunk chunk = load_chunk(table + row_bytes * uint64_t(I32(ids).v[t]), c, width);
  const uint64_t to = y + (uint64_t(t) * width + c * kChunk) * 4;
  const uint left = width - c * kChunk;
  [[unroll]] for (uint i = 0; i < 8; ++i) {
    if (4 * i < left) store4(to, i, left, kAligned, chunk_values(chunk, i));
  }
}
