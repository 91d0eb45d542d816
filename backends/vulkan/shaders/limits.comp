// Work that only shows how fast a device is: reading memory from end to end, after it was filled with what
// looks random, and multiply-adds of f32 in registers, as many lanes side by side as the grid has.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 2) const uint kWork = 0;
const uint kFill = 0, kRead = 1, kMultiply = 2;
layout(push_constant, scalar) uniform Push {
  uint64_t at;
  uint vectors;     // to fill or to read
  uint iterations;  // of 64 multiply-adds
};
void main() {
  const uint first = group_x() * lanes() + lane(), all = lanes() * gl_NumWorkGroups.x;
  if (kWork == kFill) {
    for (uint k = first; k < vectors; k += all) {
      const uvec4 bits = (uvec4(4 * k) + uvec4(0, 1, 2, 3)) * 2654435761u;
      F32x4(at).v[k] = vec4(bits >> 8) * 5.9604644775390625e-8;
    }
    return;
  }
  vec4 x[4];
  [[unroll]] for (uint i = 0; i < 4; ++i) x[i] = vec4(float(first + i));
  if (kWork == kRead) {
    for (uint k = first; k + 3 * all < vectors; k += 4 * all) {
      [[unroll]] for (uint i = 0; i < 4; ++i) x[i] += F32x4(at).v[k + i * all];
    }
  } else {
    for (uint k = 0; k < iterations; ++k) {
      [[unroll]] for (uint j = 0; j < 4; ++j) {
        [[unroll]] for (uint i = 0; i < 4; ++i) x[i] = fma(x[i], vec4(0.999), vec4(0.25));
      }
    }
  }
  // Kept alive by a store that does not happen.
  const vec4 sum = x[0] + x[1] + x[2] + x[3];
  if (sum.x + sum.y + sum.z + sum.w == -12345.0) F32(at).v[0] = sum.x;
}
