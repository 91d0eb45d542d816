// Attention of one token on GPUs, with all that lies between the projections and it: biases, head norms and RoPE
// (finish_head.glsl), and the append of its key and value to the caches.
//
// A workgroup has the queries of one key head, or some of them, and a part of the keys. Its subgroups finish the
// heads; then they take turns of kKeys keys, kAhead turns at a time, so that few keys are work for all of them. Eight lanes
// have a key, and later all lanes the same elements of each value, so that neighbours load neighbouring bytes either
// way; the first are loaded while the heads are on their way (links.h). The token's own key and value are not read back from
// the cache: part 0 starts with them. Of several parts the last to end, which counts that it is, merges all; nobody waits
// for others.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
#include "convert.glsl"
layout(constant_id = 2) const uint kDim = 128;  // 64, 128 or 256
layout(constant_id = 3) const uint kKeyHeads = 1;
layout(constant_id = 4) const uint kGroup = 1;  // query heads of a key head
layout(constant_id = 5) const uint kRows = 1;   // of them, of a workgroup
layout(constant_id = 6) const uint kDtype = 1;  // of the caches; not quantized
layout(constant_id = 7) const bool kHalf = true;
layout(constant_id = 8) const uint kBiases = 0;
layout(constant_id = 9) const uint kNorms = 0;
layout(constant_id = 10) const uint kAhead = 4;
layout(constant_id = 11) const uint kParts = 1;
layout(constant_id = 12) const float eps = 0;
layout(constant_id = 13) const uint cache_sinks = 0;
layout(constant_id = 14) const uint window = 0;
layout(constant_id = 15) const uint sinks = 0;
layout(constant_id = 16) const bool kWaits = false;
layout(constant_id = 17) const bool kRaises = false;
layout(constant_id = 18) const uint kLooks = 1;
layout(constant_id = 19) const uint kLeast = 64;   // keys of a part, where there are several
layout(constant_id = 20) const uint kFewest = 0;   // keys that are this dispatch's, and from how many on
layout(constant_id = 21) const uint kTooMany = 1;  // they are another's
layout(push_constant, scalar) uniform Push {
  uint64_t query, key, value, query_bias, key_bias, value_bias, query_norm, key_norm;
  uint64_t table, positions, keys, values, parts, y;
  uint64_t links;
  uint capacity, unused;
};
const uint kQueryHeads = kKeyHeads * kGroup;
const uint key_heads = kKeyHeads;
const bool kFresh = false;
#include "links.glsl"
#include "finish_head.glsl"
#include "key_range.glsl"

const uint kSubgroups = gl_WorkGroupSize.x / kSubgroup;
const uint kLanesOfKey = 8, kKeys = kSubgroup / kLanesOfKey, kEach = kDim / 64;
const uint kVectors = kDim / 4;
// Lanes that share a value, and vectors of it that each has.
const uint kLanesOfValue = kVectors < kSubgroup ? kVectors : kSubgroup, kVectorsOfLane = kVectors / kLanesOfValue;
const uint kValues = kSubgroup / kLanesOfValue;     // side by side
const uint kValuesOfTurn = kKeys / kValues;         // of a lane
const uint kTurns = kAhead * kValuesOfTurn;         // values of a lane at a time
const uint kTogether = 8;                           // parts that are merged at a time
const uint kPitch = kDim + 4;                       // of a part: sums, largest score, sum of weights
const uint kCounters = 256;                         // bytes of them before the parts

shared vec4 q[kRows * kVectors];
shared vec4 own_key[kVectors], own_value[kVectors];
shared vec4 mixed_of[kSubgroups * kRows * kVectors];
shared vec2 softmax_of[kSubgroups * kRows];  // largest score and sum
shared bool is_last;

layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Bits { uvec4 v[]; };

// Eight elements of a key and four of a value, as they were loaded.
struct KeyBits {
  uvec4 low, high;  // f32: four each; else all in the first
};
KeyBits load_key(uint64_t row, uint i) {
  if (kDtype == kF32) return KeyBits(Bits(row).v[2 * i], Bits(row).v[2 * i + 1]);
  return KeyBits(Bits(row).v[i], uvec4(0));
}
uvec4 load_value(uint64_t row, uint i) {
  if (kDtype == kF32) return Bits(row).v[i];
  return uvec4(U32x2(row + 8 * i).v, 0, 0);
}
vec4 four(uvec4 bits) {
  if (kDtype == kF32) return uintBitsToFloat(bits);
  if (kDtype == kF16) return vec4(unpackHalf2x16(bits.x), unpackHalf2x16(bits.y));
  return uintBitsToFloat(uvec4(bits.x << 16, bits.x & 0xffff0000u, bits.y << 16, bits.y & 0xffff0000u));
}
vec4 low_of(KeyBits k) { return four(k.low); }
vec4 high_of(KeyBits k) { return kDtype == kF32 ? four(k.high) : four(k.low.zwzw); }
// As the cache rounds.
float rounded(float x) {
  if (kDtype == kF32) return x;
  return kDtype == kF16 ? f16_to_float(float_to_f16(x)) : bf16_to_float(float_to_bf16(x));
}
void pass4(uint64_t row, uint i, vec4 x) {
  Passed4(row).v[i] = vec4(passed(x.x), passed(x.y), passed(x.z), passed(x.w));
}
// exp(from - to) where `to` is no less, and 0 where there was nothing yet.
float scale_to(float from, float to) { return from == kNone ? 0 : exp(from - to); }

KeyBits key_bits[kAhead][kEach];
uvec4 value_bits[kTurns][kVectorsOfLane];

// Subgroups take turns, kKeys keys each: the first of a subgroup's turn.
uint first_of_turn(uint base, uint turn) { return base + (turn * kSubgroups + gl_SubgroupID) * kKeys; }

void load_turns(Range range, uint base, uint end, uint head) {
  const uint group = gl_SubgroupInvocationID / kLanesOfKey, element = gl_SubgroupInvocationID % kLanesOfKey;
  [[unroll]] for (uint k = 0; k < kAhead; ++k) {
    const uint at = position_of(range, min(first_of_turn(base, k) + group, end - 1));
    const uint64_t row = address_of(range, keys, 0, at, head);
    [[unroll]] for (uint j = 0; j < kEach; ++j) {
      key_bits[k][j] = load_key(row, element + j * kLanesOfKey);
    }
  }
  [[unroll]] for (uint k = 0; k < kTurns; ++k) {
    const uint n = k % kValuesOfTurn * kValues + gl_SubgroupInvocationID / kLanesOfValue;
    const uint at = position_of(range, min(first_of_turn(base, k / kValuesOfTurn) + n, end - 1));
    const uint64_t row = address_of(range, values, 0, at, head);
    [[unroll]] for (uint j = 0; j < kVectorsOfLane; ++j) {
      value_bits[k][j] = load_value(row, gl_SubgroupInvocationID % kLanesOfValue + j * kLanesOfValue);
    }
  }
}

void main() {
  const uint head = gl_WorkGroupID.x, tile = gl_WorkGroupID.y * kRows, part = gl_WorkGroupID.z;
  const uint position = uint(I32(positions).v[0]);
  const uint in_subgroup = gl_SubgroupInvocationID;

  const Range range = range_of(position, position, position);
  const uint count = key_count(range) - 1;  // without the token's own
  // Few keys are a few parts' work, and one part has nobody to meet.
  const uint of_part = max((count + kParts - 1) / kParts, kLeast);
  const uint begin = part * of_part, end = min(count, begin + of_part);
  const uint parts_with_keys = max((count + of_part - 1) / of_part, 1);
  if (part >= parts_with_keys || count < kFewest || count >= kTooMany) return;
  if (begin < end) load_turns(range, begin, end, head);
  const uint group = in_subgroup / kLanesOfKey, element = in_subgroup % kLanesOfKey;
  const uint value_lane = in_subgroup % kLanesOfValue, value_first = in_subgroup / kLanesOfValue;

  const uint heads = kRows + (part == 0 ? 2 : 0);
  for (uint i = gl_SubgroupID; i < heads; i += kSubgroups) {
    const uint kind = i < kRows ? 0 : 1 + i - kRows;
    const uint slot = position < cache_sinks
                          ? position
                          : cache_sinks + (position - cache_sinks) % (capacity - cache_sinks);
    const uint64_t cache = (kind == 1 ? keys : values) + uint64_t(slot) * values_bytes(kDtype, kKeyHeads * kDim);
    finish_head(kind, kind == 0 ? min(head * kGroup + tile + i, kQueryHeads - 1) : head, 0);
    [[unroll]] for (uint k = 0; k < kPairs; ++k) {
      if (!pair_inside(k)) continue;
      [[unroll]] for (uint e = 0; e < 2; ++e) {
        const uint at = pair_at[k][e];
        const float x = pair_of[k][e];
        if (kind == 0) {
          q[i * kVectors + at / 4][at % 4] = x * inversesqrt(float(kDim));
        } else {
          if (kind == 1) {
            own_key[at / 4][at % 4] = rounded(x);
          } else {
            own_value[at / 4][at % 4] = rounded(x);
          }
          if (tile == 0) store_float(cache, kDtype, head * kDim + at, x);
        }
      }
    }
  }
  barrier();

  float largest[kRows], sum[kRows];
  vec4 mixed[kRows][kVectorsOfLane];
  const bool has_own = part == 0 && gl_SubgroupID == kSubgroups - 1;  // which has the fewest other keys
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    float score = 0;
    if (has_own) {
      for (uint d = in_subgroup; d < kVectors; d += kSubgroup) {
        score += dot(q[r * kVectors + d], own_key[d]);
      }
      score = subgroupAdd(score);
    }
    largest[r] = has_own ? score : kNone;
    sum[r] = has_own && in_subgroup == 0 ? 1 : 0;
    [[unroll]] for (uint j = 0; j < kVectorsOfLane; ++j) {
      mixed[r][j] = has_own && value_first == 0 ? own_value[value_lane + j * kLanesOfValue] : vec4(0);
    }
  }
  for (uint base = begin; base < end; base += kSubgroups * kKeys * kAhead) {
    if (base != begin) load_turns(range, base, end, head);
    float weight[kAhead][kRows];
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      float scores[kAhead], most = largest[r];
      [[unroll]] for (uint k = 0; k < kAhead; ++k) {
        scores[k] = kNone;
        if (first_of_turn(base, k) < end) {
          float score = 0;
          [[unroll]] for (uint j = 0; j < kEach; ++j) {
            const uint i = 2 * (element + j * kLanesOfKey);
            score += dot(q[r * kVectors + i], low_of(key_bits[k][j])) +
                     dot(q[r * kVectors + i + 1], high_of(key_bits[k][j]));
          }
          [[unroll]] for (uint apart = 1; apart < kLanesOfKey; apart *= 2) {
            score += subgroupShuffleXor(score, apart);
          }
          if (first_of_turn(base, k) + group < end) scores[k] = score;
        }
        most = max(most, scores[k]);
      }
      [[unroll]] for (uint apart = kLanesOfKey; apart < kSubgroup; apart *= 2) {
        most = max(most, subgroupShuffleXor(most, apart));
      }
      const float rescale = scale_to(largest[r], most);
      largest[r] = most;
      float added = 0;
      [[unroll]] for (uint k = 0; k < kAhead; ++k) {
        weight[k][r] = scale_to(scores[k], most);
        if (element == 0) added += weight[k][r];
      }
      sum[r] = sum[r] * rescale + added;
      [[unroll]] for (uint j = 0; j < kVectorsOfLane; ++j) mixed[r][j] *= rescale;
    }
    [[unroll]] for (uint k = 0; k < kTurns; ++k) {
      if (first_of_turn(base, k / kValuesOfTurn) < end) {
        // A lane that has its weight.
        const uint of_key = (k % kValuesOfTurn * kValues + value_first) * kLanesOfKey;
        [[unroll]] for (uint r = 0; r < kRows; ++r) {
          const float of_value = subgroupShuffle(weight[k / kValuesOfTurn][r], of_key);
          [[unroll]] for (uint j = 0; j < kVectorsOfLane; ++j) {
            mixed[r][j] += of_value * four(value_bits[k][j]);
          }
        }
      }
    }
  }

  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    sum[r] = subgroupAdd(sum[r]);
    if (in_subgroup == 0) softmax_of[gl_SubgroupID * kRows + r] = vec2(largest[r], sum[r]);
    [[unroll]] for (uint j = 0; j < kVectorsOfLane; ++j) {
      vec4 x = mixed[r][j];
      for (uint apart = kLanesOfValue; apart < kSubgroup; apart *= 2) x += subgroupShuffleXor(x, apart);
      if (value_first == 0) {
        mixed_of[(gl_SubgroupID * kRows + r) * kVectors + value_lane + j * kLanesOfValue] = x;
      }
    }
  }
  barrier();
  const uint64_t our_parts =
      parts + kCounters + uint64_t(gl_WorkGroupID.y * kKeyHeads + head) * (kParts * kRows * kPitch * 4);
  for (uint i = lane(); i < kRows * kVectors; i += lanes()) {
    const uint r = i / kVectors, d = i % kVectors;
    float most = kNone, total = 0;
    [[unroll]] for (uint s = 0; s < kSubgroups; ++s) most = max(most, softmax_of[s * kRows + r].x);
    vec4 x = vec4(0);
    [[unroll]] for (uint s = 0; s < kSubgroups; ++s) {
      const vec2 softmax = softmax_of[s * kRows + r];
      const float scale = scale_to(softmax.x, most);
      total += softmax.y * scale;
      x += mixed_of[s * kRows * kVectors + i] * scale;
    }
    if (parts_with_keys > 1) {
      const uint64_t to = our_parts + (part * kRows + r) * (kPitch * 4);
      Passed4(to).v[d] = x;
      if (d == 0) Passed4(to).v[kVectors] = vec4(most, total, 0, 0);
    } else if (tile + r < kGroup) {
      pass4(y + uint64_t(head * kGroup + tile + r) * (kDim * 4), d, x / total);
    }
  }
  if (parts_with_keys == 1) return;

  memoryBarrierBuffer();
  barrier();
  Counter counter = Counter(parts + 4 * (gl_WorkGroupID.y * kKeyHeads + head));
  if (lane() == 0) is_last = atomicAdd(counter.v[0], 1) == parts_with_keys - 1;
  barrier();
  if (!is_last) return;
  memoryBarrierBuffer();
  if (lane() == 0) counter.v[0] = 0;  // for the next token
  for (uint i = lane(); i < kRows * kVectors; i += lanes()) {
    const uint r = i / kVectors, d = i % kVectors;
    if (tile + r >= kGroup) continue;
    float most = kNone, total = 0;
    vec4 x = vec4(0);
    for (uint p = 0; p < parts_with_keys; p += kTogether) {
      vec4 mixed_in[kTogether], softmax[kTogether];
      float now = most;
      [[unroll]] for (uint a = 0; a < kTogether; ++a) {
        const uint64_t at = our_parts + (min(p + a, parts_with_keys - 1) * kRows + r) * (kPitch * 4);
        mixed_in[a] = Passed4(at).v[d];
        softmax[a] = Passed4(at).v[kVectors];
      }
      [[unroll]] for (uint a = 0; a < kTogether; ++a) now = max(now, softmax[a].x);
      const float rescale = scale_to(most, now);
      most = now;
      total *= rescale;
      x *= rescale;
      [[unroll]] for (uint a = 0; a < kTogether; ++a) {
        const float scale = p + a < parts_with_keys ? scale_to(softmax[a].x, now) : 0;
        total += softmax[a].y * scale;
        x += mixed_in[a] * scale;
      }
    }
    pass4(y + uint64_t(head * kGroup + tile + r) * (kDim * 4), d, x / total);
  }
}
