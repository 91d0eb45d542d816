// From the count of a Rows to the sizes of the dispatches that it bounds, one lane a dispatch.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
struct Request {
  uint x, y, z, scale, tile;  // y: the most; tile 0: an unused slot
};
struct Size {
  uint x, y, z;
};
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Requests { Request v[]; };
layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Sizes { Size v[]; };
layout(push_constant, scalar) uniform Push {
  uint64_t rows;
  Requests requests;
  Sizes sizes;
  uint slots, unused;
};
void main() {
  const uint i = group_x() * lanes() + lane();
  if (i >= slots) return;
  const Request request = requests.v[i];
  const uint count = uint(I32(rows).v[0]);
  uint y = 0;
  if (request.tile > 0) {
    y = min(request.y, (count * request.scale + request.tile - 1) / request.tile);
  }
  sizes.v[i] = Size(y > 0 ? request.x : 0, y, y > 0 ? request.z : 0);
}
