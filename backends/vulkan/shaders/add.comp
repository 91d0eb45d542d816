// y = a + b, where b has the shape of a or is one row that is added to each.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 2) const bool kAligned = true;
layout(constant_id = 3) const bool kOneRow = false;
layout(push_constant, scalar) uniform Push {
  uint64_t a, b, y;
  uint width, unused;
};
void main() {
  const uint i = group_x() * lanes() + lane();
  if (4 * i >= width) return;
  const uint64_t row = uint64_t(gl_WorkGroupID.y) * (width * 4);
  const vec4 sum = load4(a + row, i, width, kAligned) +
                   load4(kOneRow ? b : b + row, i, width, kAligned);
  store4(y + row, i, width, kAligned, sum);
}
