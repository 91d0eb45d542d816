// What lies between the projections of an attention and the attention itself: biases, head norms, RoPE, and
// the append of keys and values to their caches. A workgroup is one subgroup and has one head of a token:
// queries first, then keys, then values.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
layout(constant_id = 2) const uint kDim = 128;
layout(constant_id = 3) const uint kQueryHeads = 1;
layout(constant_id = 4) const uint kKeyHeads = 1;
layout(constant_id = 5) const bool kHalf = true;
layout(constant_id = 6) const uint kCache = 1;     // dtype
layout(constant_id = 7) const uint kBiases = 0;
layout(constant_id = 8) const uint kNorms = 0;
layout(push_constant, scalar) uniform Push {
  uint64_t query, key, value, query_bias, key_bias, value_bias, query_norm, key_norm;
  uint64_t table, positions, query_out, keys, values;
  uint tokens, capacity, sinks;
  float eps;
};

// Barriers lie before and after: nothing is missing (links.glsl).
float look(uint64_t row, uint i) { return F32(row).v[i]; }
bool is_missing(float x) { return false; }
bool looks_again(bool missing, inout uint looks) { return false; }
#include "finish_head.glsl"

void main() {
  const uint t = gl_WorkGroupID.y;
  uint head = gl_WorkGroupID.x;
  const uint kind = head < kQueryHeads ? 0 : head < kQueryHeads + kKeyHeads ? 1 : 2;
  head -= kind == 0 ? 0 : kind == 1 ? kQueryHeads : kQueryHeads + kKeyHeads;
  const uint position = uint(I32(positions).v[t]), ring = capacity - sinks;
  const uint slot = position < sinks ? position : sinks + (position - sinks) % ring;
  // Of the tokens of one slot only the last may write.
  const bool kept = position < sinks || t + ring >= tokens;
  const uint64_t cache = (kind == 1 ? keys : values) + uint64_t(slot) * values_bytes(kCache, kKeyHeads * kDim);

  finish_head(kind, head, t);
  [[unroll]] for (uint k = 0; k < kPairs; ++k) {
    if (!pair_inside(k)) continue;
    if (kind == 0) {
      const uint row = (t * kQueryHeads + head) * kDim;
      F32(query_out).v[row + pair_at[k].x] = pair_of[k].x;
      F32(query_out).v[row + pair_at[k].y] = pair_of[k].y;
    } else if (kept) {
      store_float(cache, kCache, head * kDim + pair_at[k].x, pair_of[k].x);
      store_float(cache, kCache, head * kDim + pair_at[k].y, pair_of[k].y);
    }
  }
}
