// y = silu(gate) * up.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 2) const bool kAligned = true;
layout(push_constant, scalar) uniform Push {
  uint64_t gate, up, y;
  uint width, unused;
};
void main() {
  const uint i = group_x() * lanes() + lane();
  if (4 * i >= width) return;
  const uint64_t row = uint64_t(gl_WorkGroupID.y) * (width * 4);
  const vec4 g = load4(gate + row, i, width, kAligned);
  store4(y + row, i, width, kAligned, g / (1 + exp(-g)) * load4(up + row, i, width, kAligned));
}
