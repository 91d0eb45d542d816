// y[i] = x[rows[i]].
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 2) const bool kAligned = true;
layout(push_constant, scalar) uniform Push {
  uint64_t x, y, rows;
  uint width, unused;
};
void main() {
  const uint i = group_x() * lanes() + lane(), row = gl_WorkGroupID.y;
  if (4 * i >= width) return;
  const uint64_t from = x + uint64_t(token_of_row(true, rows, row)) * (width * 4);
  store4(y + uint64_t(row) * (width * 4), i, width, kAligned, load4(from, i, width, kAligned));
}
