// Writes a run's keys or values into the slots of their positions.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
layout(constant_id = 2) const uint kFrom = 0;
layout(constant_id = 3) const uint kTo = 0;
layout(push_constant, scalar) uniform Push {
  uint64_t x, positions, cache;
  uint width, tokens, capacity, sinks;
};
void main() {
  const uint i = group_x() * lanes() + lane(), t = gl_WorkGroupID.y;
  const uint position = uint(I32(positions).v[t]), ring = capacity - sinks;
  // Of the tokens of one slot only the last may write.
  if (i >= width || (position >= sinks && t + ring < tokens)) return;
  const uint slot = position < sinks ? position : sinks + (position - sinks) % ring;
  const uint64_t from = x + uint64_t(t) * values_bytes(kFrom, width);
  const uint64_t to = cache + uint64_t(slot) * values_bytes(kTo, width);
  if (kTo == kQ8) {  // a block a lane
    if (i >= width / kQ8Block) return;
    if (kFrom == kQ8) {
      copy_q8(to + i * kQ8Bytes, from + i * kQ8Bytes);
    } else {
      store_q8(to + i * kQ8Bytes, from, kFrom, i * kQ8Block);
    }
  } else if (kFrom == kTo && kFrom != kF32) {
    U16(to).v[i] = U16(from).v[i];
  } else {
    store_float(to, kTo, i, load_float(from, kFrom, i));
  }
}
