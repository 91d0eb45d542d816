// Index of the largest value of each row, the lowest of equals; NaN is never the largest. A row is one workgroup's or,
// where that would take long, several workgroups' parts first, whose best are then merged.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "largest.glsl"
shared Largest of_subgroup[64];
const uint kTogether = 8;  // vectors that a lane loads together: one workgroup waits long for a vocabulary
layout(constant_id = 2) const bool kAligned = true;
layout(constant_id = 3) const uint kParts = 1;       // of a row
layout(constant_id = 4) const bool kMerges = false;  // parts that were found before
layout(push_constant, scalar) uniform Push {
  uint64_t x, y, found;
  uint width, unused;
};
Largest look(uint64_t row, Largest best) {
  const uint stride = lanes() * kParts;
  for (uint first = lane() + gl_WorkGroupID.x * lanes(); 4 * first < width; first += kTogether * stride) {
    vec4 values[kTogether];
    [[unroll]] for (uint a = 0; a < kTogether; ++a) {
      values[a] = load4(row, min(first + a * stride, (width - 1) / 4), width, kAligned);
    }
    [[unroll]] for (uint a = 0; a < kTogether; ++a) {
      const uint at = 4 * (first + a * stride);
      [[unroll]] for (uint e = 0; e < 4; ++e) {
        if (at + e < width) best = larger(best, Largest(ordered(values[a][e]), at + e));
      }
    }
  }
  return best;
}
void main() {
  const uint none = width - 1;  // of a row of NaN the last
  Largest best = Largest(0, none);
  if (kMerges) {
    for (uint i = lane(); i < kParts; i += lanes()) best = larger(best, found_at(found, gl_WorkGroupID.y * kParts + i));
  } else {
    best = look(x + uint64_t(gl_WorkGroupID.y) * (width * 4), best);
  }
  best = largest_of_subgroup(best, none);
  if (lanes() > kSubgroup) {
    if (subgroupElect()) of_subgroup[gl_SubgroupID] = best;
    barrier();
    for (uint s = 0; s < lanes() / kSubgroup; ++s) best = larger(best, of_subgroup[s]);
  }
  if (lane() != 0) return;
  if (kParts > 1 && !kMerges) {
    Found(found).v[gl_WorkGroupID.y * kParts + gl_WorkGroupID.x] = uvec2(best.key, best.index);
  } else {
    I32(y).v[gl_WorkGroupID.y] = int(best.index);
  }
}
