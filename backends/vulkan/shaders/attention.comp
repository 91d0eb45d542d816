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
#include "attention_keys.glsl"
const uint kLaneVectors = (kVectors + kSubgroup - 1) / kSubgroup;
const uint kBlock = 4 * kSubgroup;  // keys

shared vec4 q[kRows * kVectors];
shared vec4 weights[kRows * kSubgroup];  // of four keys

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
  for (uint k = lane(); k < kRows * kVectors; k += kSubgroup) {
    q[k] = query_vector(tile + k / kVectors, items, head, k % kVectors);
  }
  subgroupMemoryBarrierShared();
  subgroupBarrier();

  const Range range = range_of(first, last, start);
  const uint count = key_count(range);
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
        seen[k] = i + k < count && sees(queries[r].position, key_position[k]);
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
    if (!queries[r].wanted) continue;
    const float inverse = kSplit ? 1 : 1 / total;
    // A part: its sums, then the largest score and the sum of weights.
    const uint64_t row = queries[r].row;
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
