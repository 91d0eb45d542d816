// Index of the largest value of each row, the lowest of equals; NaN is never the largest. One workgroup
// a row.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
shared uvec2 best_of_subgroup[64];
layout(constant_id = 2) const bool kAligned = true;
layout(push_constant, scalar) uniform Push {
  uint64_t x, y;
  uint width, unused;
};
// Unsigned integers in the order of the floats; the two zeros are equal and NaN is below all.
uint ordered(float value) {
  const uint bits = floatBitsToUint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0;
  if ((bits & 0x7fffffffu) == 0) return 0x80000000u;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
void main() {
  const uint64_t row = x + uint64_t(gl_WorkGroupID.y) * (width * 4);
  uint best = 0, index = width - 1;  // of a row of NaN the last
  for (uint i = lane(); 4 * i < width; i += lanes()) {
    const vec4 values = load4(row, i, width, kAligned);
    [[unroll]] for (uint e = 0; e < 4; ++e) {
      const uint key = 4 * i + e < width ? ordered(values[e]) : 0;
      if (key > best) {
        best = key;
        index = 4 * i + e;
      }
    }
  }
  uint most = subgroupMax(best);
  uint first = subgroupMin(best == most && most > 0 ? index : width - 1);
  if (lanes() > kSubgroup) {
    if (subgroupElect()) best_of_subgroup[gl_SubgroupID] = uvec2(most, first);
    barrier();
    for (uint s = 0; s < lanes() / kSubgroup; ++s) {
      const uvec2 other = best_of_subgroup[s];
      if (other.x > most || (other.x == most && most > 0 && other.y < first)) {
        most = other.x;
        first = other.y;
      }
    }
  }
  if (lane() == 0) I32(y).v[gl_WorkGroupID.y] = int(first);
}
