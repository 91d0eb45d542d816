// tally[index] += count of a Rows.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant, scalar) uniform Push {
  uint64_t tally, rows;
  uint index, unused;
};
void main() {
  if (lane() == 0) I32(tally).v[index] += I32(rows).v[0];
}
