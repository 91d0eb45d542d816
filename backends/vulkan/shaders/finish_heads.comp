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
layout(constant_id = 5) const bool kHalf = true;   // RoPE's pairing, as in rope.comp
layout(constant_id = 6) const uint kCache = 1;     // dtype
layout(constant_id = 7) const uint kBiases = 0;    // bits: of queries, keys, values
layout(constant_id = 8) const uint kNorms = 0;     // likewise
const uint kPairs = (kDim / 2 + kSubgroup - 1) / kSubgroup;  // of elements, of a lane
layout(push_constant, scalar) uniform Push {
  uint64_t query, key, value, query_bias, key_bias, value_bias, query_norm, key_norm;
  uint64_t table, positions, query_out, keys, values;
  uint tokens, capacity, sinks;
  float eps;
};

void main() {
  const uint t = gl_WorkGroupID.y;
  uint head = gl_WorkGroupID.x;
  const uint kind = head < kQueryHeads ? 0 : head < kQueryHeads + kKeyHeads ? 1 : 2;
  head -= kind == 0 ? 0 : kind == 1 ? kQueryHeads : kQueryHeads + kKeyHeads;
  const uint heads = kind == 0 ? kQueryHeads : kKeyHeads;
  F32 x = F32((kind == 0 ? query : kind == 1 ? key : value) + uint64_t(t) * (heads * kDim * 4));
  const bool biased = (kBiases >> kind & 1u) != 0, normed = (kNorms >> kind & 1u) != 0;
  // Never read where there is none: x stands in for what is absent.
  F32 bias = biased ? F32(kind == 0 ? query_bias : kind == 1 ? key_bias : value_bias) : x;
  F32 norm = normed ? F32(kind == 0 ? query_norm : key_norm) : x;

  const uint position = uint(I32(positions).v[t]), ring = capacity - sinks;
  const uint slot = position < sinks ? position : sinks + (position - sinks) % ring;
  // Of the tokens of one slot only the last may write.
  const bool kept = position < sinks || t + ring >= tokens;
  const uint64_t cache = (kind == 1 ? keys : values) + uint64_t(slot) * values_bytes(kCache, heads * kDim);

  // All that a lane needs is loaded together, past the end of the head again its last pair.
  uvec2 at[kPairs];
  vec2 v[kPairs], weight[kPairs], turn[kPairs];
  [[unroll]] for (uint k = 0; k < kPairs; ++k) {
    const uint p = min(lane() + k * kSubgroup, kDim / 2 - 1);
    at[k] = kHalf ? uvec2(p, p + kDim / 2) : uvec2(2 * p, 2 * p + 1);
    v[k] = vec2(x.v[head * kDim + at[k].x], x.v[head * kDim + at[k].y]);
    if (biased) v[k] += vec2(bias.v[head * kDim + at[k].x], bias.v[head * kDim + at[k].y]);
    weight[k] = normed ? vec2(norm.v[at[k].x], norm.v[at[k].y]) : vec2(1);
    const uint angle = (t * (kDim / 2) + p) * 2;
    turn[k] = vec2(F32(table).v[angle], F32(table).v[angle + 1]);
  }
  float scale = 1;
  if (normed) {
    float squares = 0;
    [[unroll]] for (uint k = 0; k < kPairs; ++k) {
      squares += lane() + k * kSubgroup < kDim / 2 ? dot(v[k], v[k]) : 0;
    }
    scale = 1 / sqrt(subgroupAdd(squares) / float(kDim) + eps);
  }
  [[unroll]] for (uint k = 0; k < kPairs; ++k) {
    if (lane() + k * kSubgroup >= kDim / 2) continue;
    vec2 turned = v[k] * (scale * weight[k]);
    if (kind < 2) {
      turned = vec2(turned.x * turn[k].x - turned.y * turn[k].y,
                    turned.y * turn[k].x + turned.x * turn[k].y);
    }
    if (kind == 0) {
      const uint row = (t * kQueryHeads + head) * kDim;
      F32(query_out).v[row + at[k].x] = turned.x;
      F32(query_out).v[row + at[k].y] = turned.y;
    } else if (kept) {
      store_float(cache, kCache, head * kDim + at[k].x, turned.x);
      store_float(cache, kCache, head * kDim + at[k].y, turned.y);
    }
  }
}
