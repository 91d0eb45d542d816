// Bias, norm and RoPE of a head of queries, keys or values, by a subgroup. Needs kDim, kQueryHeads, kKeyHeads,
// kHalf (RoPE's pairing, as in rope.comp), kBiases (bits: of queries, keys, values), kNorms (likewise), eps, and
// the addresses that are named as these are; links.glsl.
const uint kPairs = (kDim / 2 + kSubgroup - 1) / kSubgroup;  // of elements, of a lane
uvec2 pair_at[kPairs];  // a lane's elements of the head, past its end again the last
vec2 pair_of[kPairs];
bool pair_inside(uint k) { return gl_SubgroupInvocationID + k * kSubgroup < kDim / 2; }

// kind 0: a query, 1: a key, 2: a value; of token t.
void finish_head(uint kind, uint head, uint t) {
  const uint heads = kind == 0 ? kQueryHeads : kKeyHeads;
  const uint64_t row = (kind == 0 ? query : kind == 1 ? key : value) + uint64_t(t) * (heads * kDim * 4);
  const bool biased = (kBiases >> kind & 1u) != 0, normed = (kNorms >> kind & 1u) != 0;
  // Never read where there is none: the head stands in for what is absent.
  F32 bias = F32(biased ? (kind == 0 ? query_bias : kind == 1 ? key_bias : value_bias) : row);
  F32 norm = F32(normed ? (kind == 0 ? query_norm : key_norm) : row);

  // All that a lane needs is loaded together, past the end of the head again its last pair.
  vec2 v[kPairs], weight[kPairs], turn[kPairs], added[kPairs];
  [[unroll]] for (uint k = 0; k < kPairs; ++k) {
    const uint p = min(gl_SubgroupInvocationID + k * kSubgroup, kDim / 2 - 1);
    pair_at[k] = kHalf ? uvec2(p, p + kDim / 2) : uvec2(2 * p, 2 * p + 1);
    const uvec2 at = head * kDim + pair_at[k];
    added[k] = biased ? vec2(bias.v[at.x], bias.v[at.y]) : vec2(0);
    weight[k] = normed ? vec2(norm.v[pair_at[k].x], norm.v[pair_at[k].y]) : vec2(1);
    const uint angle = (t * (kDim / 2) + p) * 2;
    turn[k] = vec2(F32(table).v[angle], F32(table).v[angle + 1]);
  }
  uint looks = 0;
  bool missing;
  do {
    missing = false;
    [[unroll]] for (uint k = 0; k < kPairs; ++k) {
      const uvec2 at = head * kDim + pair_at[k];
      v[k] = vec2(look(row, at.x), look(row, at.y));
    }
    [[unroll]] for (uint k = 0; k < kPairs; ++k) {
      missing = missing || is_missing(v[k].x) || is_missing(v[k].y);
    }
  } while (looks_again(missing, looks));
  if (biased) {
    [[unroll]] for (uint k = 0; k < kPairs; ++k) v[k] += added[k];
  }
  float scale = 1;
  if (normed) {
    float squares = 0;
    [[unroll]] for (uint k = 0; k < kPairs; ++k) {
      squares += pair_inside(k) ? dot(v[k], v[k]) : 0;
    }
    scale = 1 / sqrt(subgroupAdd(squares) / float(kDim) + eps);
  }
  [[unroll]] for (uint k = 0; k < kPairs; ++k) {
    pair_of[k] = v[k] * (scale * weight[k]);
    if (kind < 2) {
      pair_of[k] = vec2(pair_of[k].x * turn[k].x - pair_of[k].y * turn[k].y,
                        pair_of[k].y * turn[k].x + pair_of[k].x * turn[k].y);
    }
  }
}
