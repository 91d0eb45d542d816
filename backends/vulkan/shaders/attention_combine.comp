// Merges the parts of a query's attention that its splits computed (attention.comp): sums are brought to
// the largest score of all. One workgroup a row and head.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant, scalar) uniform Push {
  uint64_t splits, y;
  uint dim, heads, parts, unused;
};
const uint kAhead = 8;  // parts that are loaded together
shared float scales[kAhead * 64];  // as many parts at most as attention.cpp makes
void main() {
  const uint row = gl_WorkGroupID.y * heads + gl_WorkGroupID.x, pitch = dim + 2;
  F32 from = F32(splits + uint64_t(row) * parts * (pitch * 4));
  // Every subgroup for itself; the same numbers.
  float most = -3.402823466e38;
  for (uint p = gl_SubgroupInvocationID; p < parts; p += kSubgroup) {
    most = max(most, from.v[p * pitch + dim]);
  }
  most = subgroupMax(most);
  float total = 0;
  for (uint p = gl_SubgroupInvocationID; p < parts; p += kSubgroup) {
    const float scale = exp(from.v[p * pitch + dim] - most);
    total += from.v[p * pitch + dim + 1] * scale;
    if (gl_SubgroupID == 0) scales[p] = scale;
  }
  total = subgroupAdd(total);
  barrier();
  for (uint d = lane(); d < dim; d += lanes()) {
    float sum = 0;
    for (uint p = 0; p < parts; p += kAhead) {
      float values[kAhead];
      [[unroll]] for (uint a = 0; a < kAhead; ++a) {
        values[a] = from.v[min(p + a, parts - 1) * pitch + d];
      }
      [[unroll]] for (uint a = 0; a < kAhead; ++a) {
        sum += p + a < parts ? values[a] * scales[p + a] : 0;
      }
    }
    F32(y).v[row * dim + d] = sum / total;
  }
}
