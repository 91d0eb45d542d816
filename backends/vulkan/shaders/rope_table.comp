// Cosine and sine of position * frequency.
//
// A float product is off by many degrees at large positions, and doubles are not everywhere, so the
// angle is an integer: a fraction of a turn in 2^-64, whose products wrap as angles do. Sine and cosine
// are their Taylor series on an eighth of a turn either side of 0: what GLSL's own are worth is up to the
// device.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant, scalar) uniform Push {
  uint64_t positions, frequencies, y;
  uint pairs;
  float factor;
};
// frequency / 2 pi in units of 2^-64 turns, modulo whole turns: mantissa * 2^64 / 2 pi, shifted by the
// exponent.
uint64_t turns_per_position(float frequency) {
  const uint bits = floatBitsToUint(frequency);
  const int exponent = int(bits >> 23 & 255u);
  if (exponent == 0) return 0;  // below 1e-38
  const uint64_t mantissa = (bits & 0x7fffffu) | 0x800000u;
  // 2^64 / 2 pi = 0x28be60db9391054a, in two halves.
  const uint64_t low = mantissa * 0x9391054aul;
  const uint64_t high = mantissa * 0x28be60dbul + (low >> 32);  // the product's upper bits, at 2^32
  const int shift = 150 - exponent;
  if (shift <= 0) return 0;  // 2^23 radians a position and more: no frequency of a rope
  if (shift >= 96) return 0;
  return shift >= 32 ? high >> (shift - 32)
                     : (high << (32 - shift)) | ((low & 0xfffffffful) >> shift);
}
void main() {
  const uint i = group_x() * lanes() + lane(), t = gl_WorkGroupID.y;
  if (i >= pairs) return;
  const uint64_t turns = turns_per_position(F32(frequencies).v[i]) *
                         uint64_t(int64_t(I32(positions).v[t]));
  const uint angle = uint(turns >> 32);
  const uint quarter = (angle + 0x20000000u) >> 30;  // the nearest
  const float a = float(int(angle - (quarter << 30))) * 1.4629180792671596e-9;  // 2 pi / 2^32
  const float a2 = a * a;
  const float sine =
      a * (1 + a2 * (-1.0 / 6 + a2 * (1.0 / 120 + a2 * (-1.0 / 5040 + a2 * (1.0 / 362880)))));
  const float cosine =
      1 + a2 * (-0.5 + a2 * (1.0 / 24 + a2 * (-1.0 / 720 + a2 * (1.0 / 40320 - a2 / 3628800))));
  const bool swapped = (quarter & 1u) != 0;
  vec2 result = swapped ? vec2(sine, cosine) : vec2(cosine, sine);
  if (quarter == 1 || quarter == 2) result.x = -result.x;
  if (quarter >= 2) result.y = -result.y;
  F32(y).v[(t * pairs + i) * 2] = result.x * factor;
  F32(y).v[(t * pairs + i) * 2 + 1] = result.y * factor;
}
