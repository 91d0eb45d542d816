// From flags to the ascending indices of those that are set, and their count. One subgroup goes through
// the flags: there are at most as many as a chunk has tokens.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
layout(push_constant, scalar) uniform Push {
  uint64_t flags, rows;
  uint tokens, unused;
};
void main() {
  uint count = 0;
  for (uint begin = 0; begin < tokens; begin += lanes()) {
    const uint t = begin + lane();
    const uint flag = t < tokens ? U32(flags).v[t] : 0;
    const uint before = subgroupExclusiveAdd(flag);
    if (flag != 0) I32(rows).v[1 + count + before] = int(t);
    count += subgroupAdd(flag);
  }
  if (lane() == 0) I32(rows).v[0] = int(count);
}
