// y = x / sqrt(mean(x^2) + eps) * weight, one workgroup a row of each head.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
layout(constant_id = 2) const bool kAligned = true;
layout(push_constant, scalar) uniform Push {
  uint64_t x, weight, y;
  uint width, heads;
  float eps;
  uint unused;
};
void main() {
  const uint64_t row =
      (uint64_t(gl_WorkGroupID.y) * heads + gl_WorkGroupID.x) * (width * 4);
  float sum = 0;
  for (uint i = lane(); 4 * i < width; i += lanes()) {
    const vec4 v = load4(x + row, i, width, kAligned);
    sum += dot(v, v);
  }
  const float scale = 1 / sqrt(sum_over_workgroup(sum) / float(width) + eps);
  for (uint i = lane(); 4 * i < width; i += lanes()) {
    const vec4 v = load4(x + row, i, width, kAligned) * scale;
    store4(y + row, i, width, kAligned, v * load4(weight, i, width, kAligned));
  }
}
