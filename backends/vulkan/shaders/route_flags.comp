// Which tokens a router picks: 1 where x . w + b >= cut, 0 elsewhere and where the logit is NaN. One
// workgroup a token.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
layout(constant_id = 2) const bool kAligned = true;
layout(constant_id = 3) const bool kBias = false;
layout(push_constant, scalar) uniform Push {
  uint64_t x, weight, bias, flags;
  uint width;
  float cut;
};
void main() {
  const uint t = gl_WorkGroupID.y;
  const uint64_t row = x + uint64_t(t) * (width * 4);
  float sum = 0;
  for (uint i = lane(); 4 * i < width; i += lanes()) {
    sum += dot(load4(row, i, width, kAligned), load4(weight, i, width, kAligned));
  }
  sum = sum_over_workgroup(sum);
  if (kBias) sum += F32(bias).v[0];
  if (lane() == 0) U32(flags).v[t] = sum >= cut ? 1 : 0;
}
