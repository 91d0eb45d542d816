// Rows of f32 as f16, for products by cooperative matrices: each divided by a power of two that leaves its
// largest magnitude just below f16's, and that goes behind the rows, so that nothing overflows and little is
// lost. One workgroup a row.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "reduce.glsl"
layout(constant_id = 2) const bool kInterleaved = false;  // as matmul_cooperative.comp unpacks bytes
layout(push_constant, scalar) uniform Push {
  uint64_t x, halves, scales;
  uint width, unused;
};
void main() {
  const uint row = gl_WorkGroupID.y;
  const uint64_t from = x + uint64_t(row) * (width * 4), to = halves + uint64_t(row) * (width * 2);
  float largest = 0;
  for (uint i = lane(); i < width / 4; i += lanes()) {
    const vec4 sizes = abs(F32x4(from).v[i]);
    largest = max(largest, max(max(sizes.x, sizes.y), max(sizes.z, sizes.w)));
  }
  largest = most_of_workgroup(largest);
  // By exponents alone, so that scaling is exact: the largest of a row gets 2^14.
  const uint exponent = clamp(268 - (floatBitsToUint(largest) >> 23), 1u, 253u);
  const float scale = uintBitsToFloat(exponent << 23);
  if (lane() == 0) F32(scales).v[row] = uintBitsToFloat((254 - exponent) << 23);
  for (uint i = lane(); i < width / 4; i += lanes()) {
    const vec4 v = scale * F32x4(from).v[i];
    U32x2(to + 8 * i).v = kInterleaved ? uvec2(packHalf2x16(v.xz), packHalf2x16(v.yw))
                                       : uvec2(packHalf2x16(v.xy), packHalf2x16(v.zw));
  }
}
