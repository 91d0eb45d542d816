// Causal softmax attention over a cache, in one pass over the keys with a running softmax (arXiv
// 2205.14135, algorithm 1).
//
// A workgroup is one subgroup. It takes kRows queries that share a key head - consecutive tokens, and the
// query heads of the group - through the keys that any of them sees, 4 keys a lane at a time: first each
// lane scores its own keys, then each lane adds its own elements of the values, weighted by what all lanes
// scored. At decode there are few queries, and z splits their keys; attention_combine merges the parts.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
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
const uint kLaneVectors = (kVectors + kSubgroup - 1) / kSubgroup;
const uint kBlock = 4 * kSubgroup;  // keys
const float kNone = -3.402823466e38;  // below every score

shared vec4 q[kRows * kVectors];
shared vec4 weights[kRows * kSubgroup];  // of four keys

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

// Keys that are seen, one after the other: the sinks [0, sinks_end), then [begin, end). Older ones than
// this run's first token are in the cache, whose slots follow one another and wrap at its end.
struct Range {
  uint sinks_end, begin, end, begin_slot, start;
};
uint position_of(Range range, uint i) {
  return i < range.sinks_end ? i : i - range.sinks_end + range.begin;
}
uint64_t address_of(Range range, uint64_t cache, uint64_t fresh, uint position, uint head) {
  const uint64_t bytes = key_heads * values_bytes(kDtype, kDim);
  const uint64_t offset = head * values_bytes(kDtype, kDim);
  if (kFresh && position >= range.start) {
    return fresh + (position - range.start) * bytes + offset;
  }
  uint slot = position;
  if (position >= range.begin) slot = range.begin_slot + (position - range.begin);
  if (slot >= capacity) slot -= capacity - cache_sinks;
  return cache + min(slot, capacity - 1) * bytes + offset;
}

void main() {
  const uint head = gl_WorkGroupID.x, tile = gl_WorkGroupID.y * kRows;
  const uint start = uint(I32(positions).v[0]);
  const uint items = active_rows(kQueries != kAll, rows, tokens) * kGroup;
  const float query_scale = inversesqrt(float(kDim));

  // Of each query: the row that holds it, its position, and whether it is ours at all.
  uint row_of[kRows];
  int position[kRows];
  bool wanted[kRows];
  uint first = 0xffffffffu, last = 0;
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    const uint item = min(tile + r, items - 1), i = item / kGroup;
    const uint token = token_of_row(kQueries != kAll, rows, i);
    row_of[r] = (kQueries == kCompact ? i : token) * query_heads + head * kGroup + item % kGroup;
    wanted[r] = tile + r < items && !(kExcept && listed(wide, token));
    position[r] = int(start + token);
    if (wanted[r]) {
      first = min(first, start + token);
      last = max(last, start + token);
    }
  }
  if (first > last) return;
  for (uint k = lane(); k < kRows * kVectors; k += kSubgroup) {
    const uint r = k / kVectors, item = min(tile + r, items - 1), i = item / kGroup;
    const uint token = token_of_row(kQueries == kListed, rows, i);
    const uint row = token * query_heads + head * kGroup + item % kGroup;
    q[k] = load4(query + uint64_t(row) * (kDim * 4), k % kVectors, kDim, kAligned) * query_scale;
  }
  subgroupMemoryBarrierShared();
  subgroupBarrier();

  const uint seen_window = window == 0 ? 0x7fffffffu : window;
  Range range;
  range.start = start;
  range.end = last + 1;
  range.begin = first + 1 > seen_window ? first + 1 - seen_window : 0;
  range.sinks_end = min(sinks, range.begin);
  range.begin_slot = range.begin < cache_sinks
                         ? range.begin
                         : cache_sinks + (range.begin - cache_sinks) % (capacity - cache_sinks);
  const uint count = range.sinks_end + range.end - range.begin;
  const uint blocks = (count + kBlock - 1) / kBlock;
  const uint parts = kSplit ? gl_NumWorkGroups.z : 1, part = kSplit ? gl_WorkGroupID.z : 0;
  const uint blocks_of_part = (blocks + parts - 1) / parts;
  const uint blocks_end = min(blocks, (part + 1) * blocks_of_part);

  float largest[kRows], sum[kRows];  // the sum is of this lane's keys
  vec4 mixed[kRows][kLaneVectors];
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    largest[r] = kNone;
    sum[r] = 0;
    [[unroll]] for (uint n = 0; n < kLaneVectors; ++n) mixed[r][n] = vec4(0);
  }

  for (uint block = part * blocks_of_part; block < blocks_end; ++block) {
    const uint i = block * kBlock + 4 * lane();
    uint key_position[4];
    uint64_t key[4];
    [[unroll]] for (uint k = 0; k < 4; ++k) {
      key_position[k] = position_of(range, min(i + k, count - 1));
      key[k] = address_of(range, keys, fresh_keys, key_position[k], head);
    }
    vec4 scores[kRows];
    [[unroll]] for (uint r = 0; r < kRows; ++r) scores[r] = vec4(0);
    for (uint d = 0; d < kVectors; ++d) {
      vec4 k4[4];
      [[unroll]] for (uint k = 0; k < 4; ++k) k4[k] = load_vector(key[k], d);
      [[unroll]] for (uint r = 0; r < kRows; ++r) {
        const vec4 qs = q[r * kVectors + d];
        scores[r] += vec4(dot(qs, k4[0]), dot(qs, k4[1]), dot(qs, k4[2]), dot(qs, k4[3]));
      }
    }
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      bvec4 seen;
      [[unroll]] for (uint k = 0; k < 4; ++k) {
        const int behind = position[r] - int(key_position[k]);
        seen[k] = i + k < count && behind >= 0 &&
                  (behind < int(seen_window) || key_position[k] < sinks);
      }
      const vec4 visible = mix(vec4(kNone), scores[r], seen);
      const float most = max(max(visible.x, visible.y), max(visible.z, visible.w));
      const float now = max(largest[r], subgroupMax(most));
      // Before the first key that is seen there is nothing to scale, and no infinity to subtract.
      const float shift = now == kNone ? 0 : now;
      const vec4 p = mix(vec4(0), exp(scores[r] - shift), seen);
      const float rescale = exp(largest[r] - shift);
      largest[r] = now;
      sum[r] = sum[r] * rescale + dot(p, vec4(1));
      weights[r * kSubgroup + lane()] = p;
      [[unroll]] for (uint n = 0; n < kLaneVectors; ++n) mixed[r][n] *= rescale;
    }
    subgroupMemoryBarrierShared();
    subgroupBarrier();
    const uint groups = min(kSubgroup, (count - block * kBlock + 3) / 4);
    for (uint g = 0; g < groups; ++g) {
      uint64_t value[4];
      [[unroll]] for (uint k = 0; k < 4; ++k) {
        const uint at = position_of(range, min(block * kBlock + 4 * g + k, count - 1));
        value[k] = address_of(range, values, fresh_values, at, head);
      }
      [[unroll]] for (uint n = 0; n < kLaneVectors; ++n) {
        const uint d = min(n * kSubgroup + lane(), kVectors - 1);
        vec4 v4[4];
        [[unroll]] for (uint k = 0; k < 4; ++k) v4[k] = load_vector(value[k], d);
        [[unroll]] for (uint r = 0; r < kRows; ++r) {
          const vec4 p = weights[r * kSubgroup + g];
          mixed[r][n] += p.x * v4[0] + p.y * v4[1] + p.z * v4[2] + p.w * v4[3];
        }
      }
    }
    subgroupMemoryBarrierShared();
    subgroupBarrier();
  }

  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    const float total = subgroupAdd(sum[r]);
    if (!wanted[r]) continue;
    const float inverse = kSplit ? 1 : 1 / total;
    // A part: its sums, then the largest score and the sum of weights.
    const uint64_t row = row_of[r];
    const uint64_t to = y + (kSplit ? (row * parts + part) * ((kDim + 2) * 4) : row * (kDim * 4));
    [[unroll]] for (uint n = 0; n < kLaneVectors; ++n) {
      const uint d = n * kSubgroup + lane();
      if (d < kVectors) store4(to, d, kDim, kAligned && !kSplit, mixed[r][n] * inverse);
    }
    if (kSplit && lane() == 0) {
      F32(to).v[kDim] = largest[r];
      F32(to).v[kDim + 1] = total;
    }
  }
}
