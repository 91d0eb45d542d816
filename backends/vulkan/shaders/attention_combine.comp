// Merges the parts of a query's attention that its splits computed (attention.comp): sums are brought to
// the largest score of all. One workgroup a row and head.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant, scalar) uniform Push {
  uint64_t splits, y;
  uint dim, heads, parts, unused;
};
void main() {
  const uint row = gl_WorkGroupID.y * heads + gl_WorkGroupID.x, pitch = dim + 2;
  F32 from = F32(splits + uint64_t(row) * parts * (pitch * 4));
  float largest = from.v[dim];
  for (uint p = 1; p < parts; ++p) largest = max(largest, from.v[p * pitch + dim]);
  float total = 0;
  for (uint p = 0; p < parts; ++p) {
    total += from.v[p * pitch + dim + 1] * exp(from.v[p * pitch + dim] - largest);
  }
  for (uint d = lane(); d < dim; d += lanes()) {
    float sum = 0;
    for (uint p = 0; p < parts; ++p) {
      sum += from.v[p * pitch + d] * exp(from.v[p * pitch + dim] - largest);
    }
    F32(y).v[row * dim + d] = sum / total;
  }
}
