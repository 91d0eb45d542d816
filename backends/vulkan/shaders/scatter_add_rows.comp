// y[rows[i]] += delta[i].
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 2) const bool kAligned = true;
layout(push_constant, scalar) uniform Push {
  uint64_t delta, y, rows;
  uint width, unused;
};
void main() {
  const uint i = group_x() * lanes() + lane(), row = gl_WorkGroupID.y;
  if (4 * i >= width) return;
  const uint64_t to = y + uint64_t(token_of_row(true, rows, row)) * (width * 4);
  const vec4 add = load4(delta + uint64_t(row) * (width * 4), i, width, kAligned);
  store4(to, i, width, kAligned, load4(to, i, width, kAligned) + add);
}
