// Sums and maxima over a workgroup, of any number of subgroups.
shared float partial_sums[64];

float sum_over_workgroup(float x) {
  x = subgroupAdd(x);
  if (lanes() == kSubgroup) return x;
  if (subgroupElect()) partial_sums[gl_SubgroupID] = x;
  barrier();
  float sum = 0;
  for (uint i = 0; i < lanes() / kSubgroup; ++i) sum += partial_sums[i];
  barrier();
  return sum;
}

// Of what is not negative.
float most_of_workgroup(float x) {
  x = subgroupMax(x);
  if (lanes() == kSubgroup) return x;
  if (subgroupElect()) partial_sums[gl_SubgroupID] = x;
  barrier();
  float most = 0;
  for (uint i = 0; i < lanes() / kSubgroup; ++i) most = max(most, partial_sums[i]);
  barrier();
  return most;
}
