// The largest of floats and the lowest index that has it, as argmax defines it: NaN is never the largest.
struct Largest {
  uint key;  // ordered() of the value; 0: none yet
  uint index;
};
// Unsigned integers in the order of the floats; the two zeros are equal and NaN is below all.
uint ordered(float value) {
  const uint bits = floatBitsToUint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return 0;
  if ((bits & 0x7fffffffu) == 0) return 0x80000000u;
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}
Largest larger(Largest a, Largest b) {
  return b.key > a.key || (b.key == a.key && b.key > 0 && b.index < a.index) ? b : a;
}
// Of a subgroup, in every lane; `none` is the index where there is nothing but NaN.
Largest largest_of_subgroup(Largest x, uint none) {
  const uint most = subgroupMax(x.key);
  return Largest(most, subgroupMin(x.key == most && most > 0 ? x.index : none));
}
// Of workgroups.
layout(buffer_reference, scalar, buffer_reference_align = 8) coherent buffer Found { uvec2 v[]; };
Largest found_at(uint64_t at, uint i) {
  const uvec2 found = Found(at).v[i];
  return Largest(found.x, found.y);
}
