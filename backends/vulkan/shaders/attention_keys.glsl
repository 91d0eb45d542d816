// Which queries a workgroup of an attention has, which keys they see, and where those lie in the cache.
layout(constant_id = 2) const bool kAligned = true;  // vector loads of queries and keys
layout(constant_id = 3) const uint kDtype = 1;       // of the caches
layout(constant_id = 4) const uint kDim = 128;       // of a head
layout(constant_id = 5) const uint kGroup = 1;       // query heads of a key head
layout(constant_id = 6) const uint kRows = 8;
layout(constant_id = 7) const uint kQueries = 0;     // which tokens: see below
layout(constant_id = 8) const bool kSplit = false;   // write parts for attention_combine
layout(constant_id = 9) const bool kFresh = false;  // this run's keys are not in the cache yet
layout(constant_id = 10) const bool kExcept = false;  // those of `wide` are not ours
layout(push_constant, scalar) uniform Push {
  uint64_t query, keys, values, fresh_keys, fresh_values, positions, rows, wide, y;
  uint tokens, query_heads, key_heads, capacity, cache_sinks, window, sinks;
};
const uint kAll = 0;       // every token
const uint kCompact = 1;   // those of `rows`, in the rows of a compact query
const uint kListed = 2;    // those of `rows`, in their own rows of a full query

const uint kVectors = (kDim + 3) / 4;

vec4 load_vector(uint64_t row, uint i) {
  if (kDtype == kQ8) return load_q8(row, i);
  if (kAligned) {
    if (kDtype == kF32) return F32x4(row).v[i];
    const uvec2 bits = U32x2(row + 8 * i).v;
    if (kDtype == kF16) return vec4(unpackHalf2x16(bits.x), unpackHalf2x16(bits.y));
    return uintBitsToFloat(uvec4(bits.x << 16, bits.x & 0xffff0000u, bits.y << 16,
                                 bits.y & 0xffff0000u));
  }
  vec4 x = vec4(0);
  for (uint e = 0; e < 4; ++e) {
    if (4 * i + e < kDim) x[e] = load_float(row, kDtype, 4 * i + e);
  }
  return x;
}

// Whether an ascending list holds a token.
bool listed(uint64_t list, uint token) {
  uint begin = 0, end = uint(I32(list).v[0]);
  while (begin < end) {
    const uint middle = (begin + end) / 2;
    if (uint(I32(list).v[1 + middle]) < token) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  return begin < uint(I32(list).v[0]) && uint(I32(list).v[1 + begin]) == token;
}

#include "key_range.glsl"


// Of a query of the tile: the row that holds it, its position, and whether it is ours at all.
struct Query {
  uint row;
  int position;
  bool wanted;
};
uint query_count() { return active_rows(kQueries != kAll, rows, tokens) * kGroup; }
Query query_of(uint item, uint items, uint head, uint start) {
  const uint at = min(item, items - 1), i = at / kGroup;
  const uint token = token_of_row(kQueries != kAll, rows, i);
  Query query;
  query.row = (kQueries == kCompact ? i : token) * query_heads + head * kGroup + at % kGroup;
  query.wanted = item < items && !(kExcept && listed(wide, token));
  query.position = int(start + token);
  return query;
}
// A vector of it, scaled.
vec4 query_vector(uint item, uint items, uint head, uint i) {
  const uint at = min(item, items - 1);
  const uint token = token_of_row(kQueries == kListed, rows, at / kGroup);
  const uint row = token * query_heads + head * kGroup + at % kGroup;
  return load4(query + uint64_t(row) * (kDim * 4), i, kDim, kAligned) * inversesqrt(float(kDim));
}

bool sees(int position, uint key) {
  const int behind = position - int(key);
  return behind >= 0 && (behind < int(seen_window()) || key < sinks);
}
