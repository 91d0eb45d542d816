// Products of the same few tokens with up to three weights: bound by reading the weights once.
//
//   y[w][t, n] = x[t] . weight[w][n]           and, as asked for,
//   x = rms_norm(x) * norm                      before it
//   y[0] = silu(y[0]) * y[1]                    after it
//   y[0] += addend
//   most_likely = argmax(y[0])
//
// A workgroup brings its activations to shared memory, normalised and rounded (units.glsl), and keeps them for
// all its rows: there are few workgroups, of many lanes, so that this is done seldom. A subgroup takes kRows
// rows at a time, which share what is read of the activations: its lanes stride over their units, and their
// sums meet at the end. The next kAhead units of each row are loaded before the last ones are used, also across
// rows, and the first while the activations are on their way: memory is never idle for long.
#version 460
#extension GL_EXT_spirv_intrinsics : require
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "convert.glsl"
#include "weights.glsl"
#include "largest.glsl"
layout(constant_id = 3) const uint kWidth = 256;
layout(constant_id = 4) const uint kRows = 2;
layout(constant_id = 5) const uint kTokens = 1;
layout(constant_id = 6) const uint kAhead = 2;
layout(constant_id = 7) const bool kCompact = false;
layout(constant_id = 8) const bool kNorm = false;
layout(constant_id = 9) const bool kGated = false;   // rows of the two weights take turns
layout(constant_id = 10) const bool kAddend = false;
layout(constant_id = 12) const uint kHeld = 8;  // vectors of a token that a lane has; host and shader agree
layout(constant_id = 13) const bool kWaits = false;
layout(constant_id = 14) const bool kRaises = false;
layout(constant_id = 15) const uint kLooks = 1;
layout(constant_id = 18) const bool kArgmax = false;  // of one token
#include "units.glsl"
#if defined(FLOAT_UNITS) || defined(WEIGHT_q8_0)
// Where reading takes longest, memory is busy, and a look at x takes as long as all that is under way then. So a lane
// loads some units before x is there, enough to keep memory busy, and the others after.
layout(constant_id = 16) const uint kEarly = 1;
// x comes from attention, which leaves memory idle: there is time for a look before all units, which workgroups need that
// begin where attention has ended.
layout(constant_id = 17) const bool kLate = false;
const uint kParts = 2;
#else
const uint kEarly = 0;
const bool kLate = false;
const uint kParts = 1;
#endif
layout(push_constant, scalar) uniform Push {
  uint64_t weight0, weight1, weight2, y0, y1, y2, x, norm, addend, rows;
  uint outputs0, outputs1, outputs2, tokens;
  uint addend_pitch;  // from a token's to the next; 0: the same for all
  float eps;
  uint64_t links;
  uint64_t found, most_likely;
};
#include "links.glsl"
const uint kOutputs = kGated ? kRows / 2 : kRows;

const uint kStep = kAhead * kSubgroup, kSubgroups = gl_WorkGroupSize.x / kSubgroup;
shared float squares_of[kNorm ? kTokens * kSubgroups : 1];
shared Largest largest_of[kArgmax ? kSubgroups : 1];

// Of the tile of rows that begins at `first`: which weight each is of, and its number there. Past the end, the
// last row again: its sum is not kept.
struct Row {
  uint which, n;
};
Row row_of(uint first, uint r, uint total) {
  Row row = Row(0, min(first + (kGated ? r / 2 : r), total - 1));
  if (kGated) {
    row.which = r % 2;
  } else if (row.n >= outputs0) {
    row = Row(1, row.n - outputs0);
    if (row.n >= outputs1) row = Row(2, row.n - outputs1);
  }
  return row;
}
uint64_t address_of(Row row) {
  return (row.which == 0 ? weight0 : row.which == 1 ? weight1 : weight2) +
         uint64_t(row.n) * kRowBytes;
}

// Of what a lane has of a token, or of a norm's weights.
uint held_at(uint h) { return min(lane() + h * lanes(), kWidth / 4 - 1); }

void look_for_token(uint64_t from, out vec4 held[kHeld]) {
  uint looks = 0;
  bool missing;
  do {
    missing = false;
    [[unroll]] for (uint h = 0; h < kHeld; ++h) held[h] = look4(from, held_at(h));
    [[unroll]] for (uint h = 0; h < kHeld; ++h) missing = missing || is_missing(held[h]);
  } while (looks_again(missing, looks));
}

// Rows end where steps do, so that no lane need look.
const bool kWholeSteps = kUnits % kStep == 0;
uint unit_at(uint i) { return kWholeSteps ? i : min(i, kUnits - 1); }

// Of what subgroups have each, by the first subgroup: workgroups leave theirs, and the last to end, which counts that it
// is, merges them; nobody waits.
const uint kCounter = 16;  // bytes before what they leave
void find_largest(Largest best) {
  const uint of_lane = gl_SubgroupInvocationID, none = outputs0 - 1;
  if (subgroupElect()) largest_of[gl_SubgroupID] = best;
  barrier();
  if (gl_SubgroupID != 0) return;
  for (uint i = of_lane; i < kSubgroups; i += kSubgroup) best = larger(best, largest_of[i]);
  best = largest_of_subgroup(best, none);
  bool is_last = false;
  Counter counter = Counter(found);
  if (of_lane == 0) {
    Found(found + kCounter).v[gl_WorkGroupID.x] = uvec2(best.key, best.index);
    memoryBarrierBuffer();
    is_last = atomicAdd(counter.v[0], 1) == gl_NumWorkGroups.x - 1;
  }
  if (!subgroupBroadcastFirst(is_last)) return;
  memoryBarrierBuffer();
  for (uint i = of_lane; i < gl_NumWorkGroups.x; i += kSubgroup) best = larger(best, found_at(found + kCounter, i));
  best = largest_of_subgroup(best, none);
  if (of_lane == 0) {
    I32(most_likely).v[0] = int(best.index);
    counter.v[0] = 0;  // for the next token
  }
}

void main() {
  const uint of_lane = gl_SubgroupInvocationID;
  const uint total = kGated ? outputs0 : outputs0 + outputs1 + outputs2;
  // Workgroups have equally many tiles, and those of one follow one another.
  const uint tiles = (total + kOutputs - 1) / kOutputs;
  const uint each = tiles / gl_NumWorkGroups.x, more = tiles % gl_NumWorkGroups.x;
  const uint begin = gl_WorkGroupID.x * each + min(gl_WorkGroupID.x, more);
  const uint end = (begin + each + (gl_WorkGroupID.x < more ? 1 : 0)) * kOutputs;
  const uint stride = kSubgroups * kOutputs;
  uint first = (begin + gl_SubgroupID) * kOutputs;

  const uint first_token = gl_WorkGroupID.y * kTokens;
  const uint count = active_rows(kCompact, rows, tokens);
  uint64_t from[kTokens];
  [[unroll]] for (uint t = 0; t < kTokens; ++t) {
    from[t] = x + uint64_t(min(first_token + t, count - 1)) * (kWidth * 4);
  }
  // Ahead of the weights, which would have it wait behind them.
  vec4 held[kHeld], weights[kHeld];
  const uint first_at = 4 * subgroupBroadcastFirst(held_at(0));
  const bool is_there = !kWaits || (kLate && !is_missing(look(from[0], first_at)));
  if (is_there) look_for_token(from[0], held);
  if (kNorm) {
    [[unroll]] for (uint h = 0; h < kHeld; ++h) weights[h] = F32x4(norm).v[held_at(h)];
  }

  uint64_t row[kRows];
  Unit units[kAhead][kRows];
  if (first < end) {
    [[unroll]] for (uint r = 0; r < kRows; ++r) row[r] = address_of(row_of(first, r, total));
  }
  [[unroll]] for (uint part = 0; part < 2; ++part) {
    if (part == 1 && !is_there) {
      // One value first: while there is nothing, looking for all takes time from those who are busy.
      awaited(from[0], first_at);
      look_for_token(from[0], held);
    }
    if (first >= end || part >= kParts) continue;
    [[unroll]] for (uint a = 0; a < kAhead; ++a) {
      [[unroll]] for (uint r = 0; r < kRows; ++r) {
        if (kParts == 1 || (a * kRows + r < kEarly) == (part == 0)) {
          units[a][r] = load_unit(row[r], unit_at(of_lane + a * kSubgroup));
        }
      }
    }
  }

  // The factor of a norm is the same for the whole row, so that sums get it, and not what is staged: that need
  // not wait for it.
  for (uint t = 0; t < kTokens; ++t) {
    float squares = 0;
    [[unroll]] for (uint h = 0; h < kHeld; ++h) {
      const vec4 now = held[h];
      const uint i = lane() + h * lanes();
      if (i < kWidth / 4) {
        squares += dot(now, now);
        stage(t, i, kNorm ? now * weights[h] : now);
      }
    }
    if (t + 1 < kTokens) look_for_token(from[t + 1], held);
    if (kNorm) {
      squares = subgroupAdd(squares);
      if (subgroupElect()) squares_of[t * kSubgroups + gl_SubgroupID] = squares;
    }
  }
  barrier();
  float factor[kTokens];
  [[unroll]] for (uint t = 0; t < kTokens; ++t) {
    float squares = 0;
    if (kNorm) {
      for (uint i = of_lane; i < kSubgroups; i += kSubgroup) {
        squares += squares_of[t * kSubgroups + i];
      }
      squares = subgroupAdd(squares);
    }
    factor[t] = kNorm ? 1 / sqrt(squares / float(kWidth) + eps) : 1;
  }

  Largest best = Largest(0, outputs0 - 1);
  while (first < end) {
    float sums[kRows][kTokens];
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      [[unroll]] for (uint t = 0; t < kTokens; ++t) sums[r][t] = 0;
    }
    // Nothing is left to wait for when the sums are done.
    float addends[kOutputs][kTokens];
    if (kAddend) {
      [[unroll]] for (uint r = 0; r < kOutputs; ++r) {
        [[unroll]] for (uint t = 0; t < kTokens; ++t) {
          const uint token = min(first_token + t, count - 1);
          const uint n = row_of(first, kGated ? 2 * r : r, total).n;
          addends[r][t] = awaited(addend, token * addend_pitch + n);
        }
      }
    }
    for (uint unit = 0; unit < kUnits; unit += kStep) {
      Unit now[kAhead][kRows];
      [[unroll]] for (uint a = 0; a < kAhead; ++a) {
        [[unroll]] for (uint r = 0; r < kRows; ++r) now[a][r] = units[a][r];
      }
      uint next = unit + kStep;
      bool goes_on = true;
      if (next >= kUnits) {  // the next tile of rows
        next = 0;
        goes_on = first + stride < end;
        [[unroll]] for (uint r = 0; r < kRows; ++r) {
          row[r] = address_of(row_of(first + stride, r, total));
        }
      }
      if (goes_on) {
        [[unroll]] for (uint a = 0; a < kAhead; ++a) {
          [[unroll]] for (uint r = 0; r < kRows; ++r) {
            units[a][r] = load_unit(row[r], unit_at(next + a * kSubgroup + of_lane));
          }
        }
      }
      // Without branches, so that one unit's waits are hidden by another's work.
      [[unroll]] for (uint a = 0; a < kAhead; ++a) {
        const uint along = unit + a * kSubgroup + of_lane, u = unit_at(along);
        [[unroll]] for (uint t = 0; t < kTokens; ++t) {
          [[unroll]] for (uint r = 0; r < kRows; ++r) {
            const float product = unit_dot(now[a][r], u, t, from[t]);
            sums[r][t] += kWholeSteps || along < kUnits ? product : 0;
          }
        }
      }
    }
    [[unroll]] for (uint r = 0; r < kRows; ++r) {
      [[unroll]] for (uint t = 0; t < kTokens; ++t) sums[r][t] = subgroupAdd(sums[r][t]) * factor[t];
    }
    if (of_lane == 0) {
      [[unroll]] for (uint r = 0; r < kOutputs; ++r) {
        const Row of = row_of(first, kGated ? 2 * r : r, total);
        const uint64_t y = of.which == 0 ? y0 : of.which == 1 ? y1 : y2;
        const uint pitch = of.which == 0 ? outputs0 : of.which == 1 ? outputs1 : outputs2;
        [[unroll]] for (uint t = 0; t < kTokens; ++t) {
          if (first + r >= total || first_token + t >= count) continue;
          float sum = sums[kGated ? 2 * r : r][t];
          if (kGated) sum = sum / (1 + exp(-sum)) * sums[min(2 * r + 1, kRows - 1)][t];
          if (kAddend) sum += addends[r][t];
          if (kArgmax) best = larger(best, Largest(ordered(sum), of.n));
          Passed(y).v[(first_token + t) * pitch + of.n] = passed(sum);
        }
      }
    }
    first += stride;
  }
  if (kArgmax) find_largest(best);
}
