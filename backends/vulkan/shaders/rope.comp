// Turns pairs of elements of each head by the cosines and sines of the row's token.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(constant_id = 2) const bool kHalf = true;  // d with d + D/2; else 2d with 2d + 1
layout(constant_id = 3) const bool kCompact = false;
layout(push_constant, scalar) uniform Push {
  uint64_t x, table, y, rows;
  uint pairs, heads;
};
void main() {
  const uint item = group_x() * lanes() + lane(), row = gl_WorkGroupID.y;
  if (item >= pairs * heads) return;
  const uint head = item / pairs, p = item % pairs;
  const uint angle = (token_of_row(kCompact, rows, row) * pairs + p) * 2;
  const float cosine = F32(table).v[angle], sine = F32(table).v[angle + 1];
  const uint first = (row * heads + head) * pairs * 2 + (kHalf ? p : 2 * p);
  const uint second = first + (kHalf ? pairs : 1);
  const float a = F32(x).v[first], b = F32(x).v[second];
  F32(y).v[first] = a * cosine - b * sine;
  F32(y).v[second] = b * cosine + a * sine;
}
