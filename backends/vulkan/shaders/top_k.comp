// The k largest values of each row, in order, with their indices. A value and its index together are a
// 64-bit key, all different, so that the k-th largest is a number and its ties are decided: it is found
// digit by digit (radix select), then the keys that reach it are put in order. One workgroup a row.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
const uint kMost = 1024, kDigits = 256;
layout(push_constant, scalar) uniform Push {
  uint64_t x, y;
  uint width, count;
};
shared uint counts[kDigits];
shared uint64_t best[kMost];
shared uint64_t prefix;
shared uint left, there;  // wanted of the keys with that prefix, and how many have it
shared uint found;

// Larger keys come first: NaN, then larger values (the two zeros are equal), then lower indices.
uint64_t key_of(float value, uint index) {
  const uint bits = floatBitsToUint(value), size = bits & 0x7fffffffu;
  uint ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  if (size == 0) ordered = 0x80000000u;
  if (size > 0x7f800000u) ordered = 0xffffffffu;
  return uint64_t(ordered) << 32 | uint64_t(~index);
}

// One subgroup: which digit the k-th largest has. Its lanes take several digits each, the largest first.
void choose_digit(int shift) {
  const uint each = kDigits / kSubgroup, first = kDigits - 1 - gl_SubgroupInvocationID * each;
  const uint wanted = left;
  uint mine = 0;
  for (uint i = 0; i < each; ++i) mine += counts[first - i];
  uint before = subgroupExclusiveAdd(mine);
  if (before < wanted && wanted <= before + mine) {
    uint digit = first;
    while (before + counts[digit] < wanted) before += counts[digit--];
    left = wanted - before;
    there = counts[digit];
    prefix |= uint64_t(digit) << shift;
  }
}

void main() {
  const uint64_t row = x + uint64_t(gl_WorkGroupID.y) * (width * 4);
  if (lane() == 0) {
    prefix = 0;
    left = count;
    there = width;
    found = 0;
  }
  barrier();
  uint64_t mask = 0;
  for (int shift = 56; shift >= 0 && left != there; shift -= 8) {
    for (uint i = lane(); i < kDigits; i += lanes()) counts[i] = 0;
    barrier();
    const uint64_t known = prefix;
    for (uint i = lane(); i < width; i += lanes()) {
      const uint64_t key = key_of(F32(row).v[i], i);
      if ((key & mask) == known) atomicAdd(counts[uint(key >> shift) & (kDigits - 1)], 1);
    }
    barrier();
    if (gl_SubgroupID == 0) choose_digit(shift);
    mask |= uint64_t(kDigits - 1) << shift;
    barrier();
  }
  const uint64_t least = prefix;
  for (uint i = lane(); i < width; i += lanes()) {
    const uint64_t key = key_of(F32(row).v[i], i);
    if (key >= least) best[atomicAdd(found, 1)] = key;
  }
  barrier();
  for (uint i = lane(); i < count; i += lanes()) {
    const uint64_t key = best[i];
    uint rank = 0;
    for (uint j = 0; j < count; ++j) rank += best[j] > key ? 1 : 0;
    const uint index = ~uint(key), at = 2 * (gl_WorkGroupID.y * count + rank);
    F32(y).v[at] = F32(row).v[index];
    F32(y).v[at + 1] = float(index);
  }
}
