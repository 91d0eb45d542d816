// y = x in another dtype of caches, or a copy.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
layout(constant_id = 2) const uint kFrom = 0;
layout(constant_id = 3) const uint kTo = 0;
layout(push_constant, scalar) uniform Push {
  uint64_t x, y;
  uint elements, unused;
};
void main() {
  const uint i = group_x() * lanes() + lane();
  if (i >= elements) return;
  if (kTo == kQ8) {  // a block a lane
    if (i < elements / kQ8Block) store_q8(y + uint64_t(i) * kQ8Bytes, x, kFrom, i * kQ8Block);
  } else if (kFrom == kTo && kFrom != kF32) {
    U16(y).v[i] = U16(x).v[i];
  } else if (kFrom == kTo) {
    U32(y).v[i] = U32(x).v[i];
  } else {
    store_float(y, kTo, i, load_float(x, kFrom, i));
  }
}
