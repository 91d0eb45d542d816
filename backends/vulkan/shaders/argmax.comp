// Index of the largest value of each row, the lowest of equals; NaN is never the largest. One workgroup
// a row.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
shared uvec2 best_of_subgroup[64];
const uint kTogether = 8;  // vectors that a lane loads together: one workgroup waits long for a vocabulary
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
  for (uint first = lane(); 4 * first < width; first += kTogether * lanes()) {
    vec4 values[kTogether];
    [[unroll]] for (uint a = 0; a < kTogether; ++a) {
      values[a] = load4(row, min(first + a * lanes(), (width - 1) / 4), width, kAligned);
    }
    [[unroll]] for (uint a = 0; a < kTogether; ++a) {
      const uint at = 4 * (first + a * lanes());
      [[unroll]] for (uint e = 0; e < 4; ++e) {
        const uint key = at + e < width ? ordered(values[a][e]) : 0;
        if (key > best) {
          best = key;
          index = at + e;
        }
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
