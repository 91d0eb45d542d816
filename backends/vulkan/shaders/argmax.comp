// Index of the largest value of each row, the lowest of equals; NaN is never the largest. A row is one workgroup's or,
// where that would take long, several workgroups' parts first, whose best are then merged.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
shared uvec2 best_of_subgroup[64];
const uint kTogether = 8;  // vectors that a lane loads together: one workgroup waits long for a vocabulary
layout(constant_id = 2) const bool kAligned = true;
layout(constant_id = 3) const uint kParts = 1;       // of a row
layout(constant_id = 4) const bool kMerges = false;  // parts that were found before
layout(push_constant, scalar) uniform Push {
  uint64_t x, y, found;
  uint width, unused;
};
layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Found { uvec2 v[]; };
// Unsigned integers in the order of the floats; the two zeros are equal and NaN is below all.
uint ordered(float value) {
  const uint bits = floatBitsToUint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0;
  if ((bits & 0x7fffffffu) == 0) return 0x80000000u;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
void look(uint64_t row, inout uint best, inout uint index) {
  const uint stride = lanes() * kParts;
  for (uint first = lane() + gl_WorkGroupID.x * lanes(); 4 * first < width; first += kTogether * stride) {
    vec4 values[kTogether];
    [[unroll]] for (uint a = 0; a < kTogether; ++a) {
      values[a] = load4(row, min(first + a * stride, (width - 1) / 4), width, kAligned);
    }
    [[unroll]] for (uint a = 0; a < kTogether; ++a) {
      const uint at = 4 * (first + a * stride);
      [[unroll]] for (uint e = 0; e < 4; ++e) {
        const uint key = at + e < width ? ordered(values[a][e]) : 0;
        if (key > best) {
          best = key;
          index = at + e;
        }
      }
    }
  }
}
void main() {
  uint best = 0, index = width - 1;  // of a row of NaN the last
  if (kMerges) {
    for (uint i = lane(); i < kParts; i += lanes()) {
      const uvec2 part = Found(found).v[gl_WorkGroupID.y * kParts + i];
      if (part.x > best || (part.x == best && part.y < index)) {
        best = part.x;
        index = part.y;
      }
    }
  } else {
    look(x + uint64_t(gl_WorkGroupID.y) * (width * 4), best, index);
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
  if (lane() != 0) return;
  if (kParts > 1 && !kMerges) {
    Found(found).v[gl_WorkGroupID.y * kParts + gl_WorkGroupID.x] = uvec2(most, first);
  } else {
    I32(y).v[gl_WorkGroupID.y] = int(first);
  }
}
