// attention.comp for few queries, on GPUs: bound by reading keys and values once, so that neighbouring lanes
// load neighbouring bytes. Eight lanes have a key, and the same eight its value, eight elements of either at a
// time; every eight lanes keep a running softmax of the keys that they had, and all meet at the end.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
#include "common.glsl"
#include "convert.glsl"
#include "attention_keys.glsl"
layout(constant_id = 11) const uint kAhead = 4;  // keys that a lane loads together
const uint kLanesOfKey = 8;
const uint kKeys = kSubgroup / kLanesOfKey;  // of a subgroup, side by side
const uint kEach = kDim / 64;                // times eight elements of a lane
const uint kSubgroups = 4;                   // of a workgroup

shared vec4 q[kRows * kVectors];
shared vec4 mixed_of[kSubgroups * kRows * kVectors];
shared vec2 softmax_of[kSubgroups * kRows];  // largest score and sum

layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Halves { uvec4 v[]; };
struct Eight {
  vec4 a, b;
};
// Elements 8i to 8i + 7 of a row that is aligned.
Eight load_eight(uint64_t row, uint i) {
  if (kDtype == kQ8) return Eight(load_q8(row, 2 * i), load_q8(row, 2 * i + 1));
  if (kDtype == kF32) return Eight(F32x4(row).v[2 * i], F32x4(row).v[2 * i + 1]);
  const uvec4 bits = Halves(row).v[i];
  if (kDtype == kF16) {
    return Eight(vec4(unpackHalf2x16(bits.x), unpackHalf2x16(bits.y)),
                 vec4(unpackHalf2x16(bits.z), unpackHalf2x16(bits.w)));
  }
  const uvec4 low = bits << 16, high = bits & 0xffff0000u;
  return Eight(uintBitsToFloat(uvec4(low.x, high.x, low.y, high.y)),
               uintBitsToFloat(uvec4(low.z, high.z, low.w, high.w)));
}
// exp(from - to) where `to` is no less, and 0 where there was nothing yet.
float scale_to(float from, float to) { return from == kNone ? 0 : exp(from - to); }

void main() {
  const uint head = gl_WorkGroupID.x, tile = gl_WorkGroupID.y * kRows;
  const uint start = uint(I32(positions).v[0]);
  const uint items = query_count();
  Query queries[kRows];
  uint first = 0xffffffffu, last = 0;
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    queries[r] = query_of(tile + r, items, head, start);
    if (queries[r].wanted) {
      first = min(first, uint(queries[r].position));
      last = max(last, uint(queries[r].position));
    }
  }
  if (first > last) return;
  for (uint k = lane(); k < kRows * kVectors; k += lanes()) {
    q[k] = query_vector(tile + k / kVectors, items, head, k % kVectors);
  }
  barrier();

  const Range range = range_of(first, last, start);
  const uint count = key_count(range);
  const uint parts = kSplit ? gl_NumWorkGroups.z : 1, part = kSplit ? gl_WorkGroupID.z : 0;
  const uint of_part = (count + parts - 1) / parts;
  const uint end = min(count, (part + 1) * of_part);
  const uint group = gl_SubgroupInvocationID / kLanesOfKey;
  const uint element = gl_SubgroupInvocationID % kLanesOfKey;

  float largest[kRows], sum[kRows];
  Eight mixed[kRows][kEach];
  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    largest[r] = kNone;
    sum[r] = 0;
    [[unroll]] for (uint j = 0; j < kEach; ++j) mixed[r][j] = Eight(vec4(0), vec4(0));
  }
  for (uint begin = part * of_part; begin < end; begin += kSubgroups * kKeys * kAhead) {
    const uint i = begin + gl_SubgroupID * (kKeys * kAhead) + group;
    uint key_position[kAhead];
    float scores[kAhead][kRows];
    [[unroll]] for (uint k = 0; k < kAhead; ++k) {
      key_position[k] = position_of(range, min(i + k * kKeys, count - 1));
      [[unroll]] for (uint r = 0; r < kRows; ++r) scores[k][r] = 0;
    }
    [[unroll]] for (uint j = 0; j < kEach; ++j) {
      const uint e = element + j * kLanesOfKey;
      Eight key[kAhead];
      [[unroll]] for (uint k = 0; k < kAhead; ++k) {
        key[k] = load_eight(address_of(range, keys, fresh_keys, key_position[k], head), e);
      }
      [[unroll]] for (uint r = 0; r < kRows; ++r) {
        const vec4 a = q[r * kVectors + 2 * e], b = q[r * kVectors + 2 * e + 1];
        [[unroll]] for (uint k = 0; k < kAhead; ++k) {
          scores[k][r] += dot(a, key[k].a) + dot(b, key[k].b);
        }
      }
    }
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      float now = largest[r];
      bool seen[kAhead];
      [[unroll]] for (uint k = 0; k < kAhead; ++k) {
        float score = scores[k][r];
        [[unroll]] for (uint apart = 1; apart < kLanesOfKey; apart *= 2) {
          score += subgroupShuffleXor(score, apart);
        }
        seen[k] = i + k * kKeys < end && sees(queries[r].position, key_position[k]);
        scores[k][r] = score;
        if (seen[k]) now = max(now, score);
      }
      const float rescale = scale_to(largest[r], now);
      largest[r] = now;
      sum[r] *= rescale;
      [[unroll]] for (uint k = 0; k < kAhead; ++k) {
        scores[k][r] = seen[k] ? exp(scores[k][r] - now) : 0;
        sum[r] += scores[k][r];
      }
      [[unroll]] for (uint j = 0; j < kEach; ++j) {
        mixed[r][j].a *= rescale;
        mixed[r][j].b *= rescale;
      }
    }
    [[unroll]] for (uint j = 0; j < kEach; ++j) {
      const uint e = element + j * kLanesOfKey;
      [[unroll]] for (uint k = 0; k < kAhead; ++k) {
        const Eight value =
            load_eight(address_of(range, values, fresh_values, key_position[k], head), e);
        [[unroll]] for (uint r = 0; r < kRows; ++r) {
          mixed[r][j].a += scores[k][r] * value.a;
          mixed[r][j].b += scores[k][r] * value.b;
        }
      }
    }
  }

  [[unroll]] for (uint r = 0; r < kRows; ++r) {
    const float most = subgroupMax(largest[r]);
    const float scale = scale_to(largest[r], most);
    const float total = subgroupAdd(element == 0 ? sum[r] * scale : 0);
    if (gl_SubgroupInvocationID == 0) softmax_of[gl_SubgroupID * kRows + r] = vec2(most, total);
    [[unroll]] for (uint j = 0; j < kEach; ++j) {
      vec4 a = mixed[r][j].a * scale, b = mixed[r][j].b * scale;
      for (uint apart = kLanesOfKey; apart < kSubgroup; apart *= 2) {
        a += subgroupShuffleXor(a, apart);
        b += subgroupShuffleXor(b, apart);
      }
      if (group == 0) {
        const uint at = (gl_SubgroupID * kRows + r) * kVectors + 2 * (element + j * kLanesOfKey);
        mixed_of[at] = a;
        mixed_of[at + 1] = b;
      }
    }
  }
  barrier();
  for (uint k = lane(); k < kRows * kVectors; k += lanes()) {
    const uint r = k / kVectors, d = k % kVectors;
    const Query query = query_of(tile + r, items, head, start);
    if (!query.wanted) continue;
    float most = kNone, total = 0;
    [[unroll]] for (uint s = 0; s < kSubgroups; ++s) most = max(most, softmax_of[s * kRows + r].x);
    vec4 x = vec4(0);
    [[unroll]] for (uint s = 0; s < kSubgroups; ++s) {
      const vec2 softmax = softmax_of[s * kRows + r];
      const float scale = scale_to(softmax.x, most);
      total += softmax.y * scale;
      x += mixed_of[s * kRows * kVectors + k] * scale;
    }
    // A part: its sums, then the largest score and the sum of weights.
    const uint64_t row = query.row;
    const uint64_t to = y + (kSplit ? (row * parts + part) * ((kDim + 2) * 4) : row * (kDim * 4));
    store4(to, d, kDim, !kSplit, kSplit ? x : x / total);
    if (kSplit && d == 0) {
      F32(to).v[kDim] = most;
      F32(to).v[kDim + 1] = total;
    }
  }
}
