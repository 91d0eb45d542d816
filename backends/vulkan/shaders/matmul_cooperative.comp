// y[t, n] = x[t] . w[n] for many tokens, by cooperative matrices of f16 with sums in f32. A workgroup computes
// a tile of outputs, 32 columns at a time: while its subgroups multiply one step, each of blocks that lie in
// its registers, its lanes load the next, expand weights to f16 and put them into the other half of shared
// memory. x was made f16 before (halve_rows.comp).
//
// Quantized weights are bytes here (weights.glsl). Two bytes become two halves by one operation if they lie two
// apart, so of each four values the middle two change places, in x too.
//
// Rows of shared memory are five vectors apart, so that eight neighbouring rows meet different banks.
#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#include "common.glsl"
#include "convert.glsl"
#include "weights.glsl"
layout(constant_id = 3) const uint kM = 16;  // of one matrix: weight rows, tokens, columns
layout(constant_id = 4) const uint kN = 16;
layout(constant_id = 5) const uint kK = 16;
layout(constant_id = 6) const uint kBlockRows = 4;  // matrices of a subgroup, by weight rows
layout(constant_id = 7) const uint kBlockTokens = 2;
layout(constant_id = 8) const uint kGroupRows = 2;  // subgroups, by weight rows
layout(constant_id = 9) const uint kGroupTokens = 4;
layout(constant_id = 10) const bool kCompact = false;
layout(push_constant, scalar) uniform Push {
  uint64_t weight, halves, scales, y, rows, row_bytes;
  uint width, outputs, tokens, unused;
};
const uint kRows = kGroupRows * kBlockRows * kM, kTokens = kGroupTokens * kBlockTokens * kN;
const uint kLanes = gl_WorkGroupSize.x;
const uint kVectors = 4, kPitch = 5;  // of eight halves: in a row of a step, and to the next row
const uint kWeightVectors = 2 * kRows * kPitch, kSumVectors = kGroupRows * kGroupTokens * kM * kN / 4;
shared uvec4 w_tile[kWeightVectors > kSumVectors ? kWeightVectors : kSumVectors];  // in the end, of sums
shared uvec4 x_tile[2 * kTokens * kPitch];

layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Vectors { uvec4 v[]; };

// What a lane has of a step's weights, as it was loaded.
#if defined(WEIGHT_f16) || defined(WEIGHT_bf16)
#define FLOAT_WEIGHTS
const uint kHeld = (kRows * kVectors + kLanes - 1) / kLanes;
#define Held uvec4
#else
const uint kHeld = (kRows + kLanes - 1) / kLanes;
#define Held Chunk
#endif
const uint kHeldTokens = (kTokens * kVectors + kLanes - 1) / kLanes;
#if defined(WEIGHT_f16)
const float kScale = 1;
#else
// Weights are that much larger in f16, where scales of blocks would lose bits to its smallest exponents.
const float kScale = 64;
#endif
const float kLargest = 65504;

Held load_weights(uint first_row, uint h, uint c) {
  const uint i = lane() + h * kLanes;
#if defined(FLOAT_WEIGHTS)
  const uint row = min(first_row + i / kVectors, outputs - 1);
  return Vectors(weight + row_bytes * row).v[c * kVectors + i % kVectors];
#else
  return load_chunk(weight + row_bytes * min(first_row + i, outputs - 1), c, width);
#endif
}

#if defined(WEIGHT_bf16)
uint halves_of(uint pair) {
  const vec2 x = kScale * uintBitsToFloat(uvec2(pair << 16, pair & 0xffff0000u));
  return packHalf2x16(clamp(x, vec2(-kLargest), vec2(kLargest)));
}
#endif

void store_weights(uint half_, uint h, Held held) {
  const uint i = lane() + h * kLanes;
#if defined(FLOAT_WEIGHTS)
  if (i >= kRows * kVectors) return;
#if defined(WEIGHT_bf16)
  held = uvec4(halves_of(held.x), halves_of(held.y), halves_of(held.z), halves_of(held.w));
#endif
  w_tile[(half_ * kRows + i / kVectors) * kPitch + i % kVectors] = held;
#else
  if (i >= kRows) return;
  const float most = kLargest / 128;  // a byte of any size times it is still finite
  const f16vec2 minimum = f16vec2(float16_t(clamp(-kScale * held.minimum, -kLargest, kLargest)));
  [[unroll]] for (uint v = 0; v < kVectors; ++v) {
    const f16vec2 scale = f16vec2(float16_t(clamp(kScale * held.scale[v / 2], -most, most)));
    uvec4 out_;
    [[unroll]] for (uint e = 0; e < 2; ++e) {
      const uint q = held.q[2 * v + e];
      // 1024 + 128 + byte, whose last place in f16 is 1.
      const f16vec2 outer = unpackFloat2x16((q & 0x00ff00ffu) ^ 0x64806480u) - float16_t(1152);
      const f16vec2 inner = unpackFloat2x16((q >> 8 & 0x00ff00ffu) ^ 0x64806480u) - float16_t(1152);
      out_[2 * e] = packFloat2x16(kHasMinimum ? fma(outer, scale, minimum) : outer * scale);
      out_[2 * e + 1] = packFloat2x16(kHasMinimum ? fma(inner, scale, minimum) : inner * scale);
    }
    w_tile[(half_ * kRows + i) * kPitch + v] = out_;
  }
#endif
}

void main() {
  // Tokens go round first: tiles that share weights run side by side.
  const uint groups_x = gl_NumWorkGroups.x * gl_NumWorkGroups.z;
  const uint id = group_x() + gl_WorkGroupID.y * groups_x;
  const uint first_row = id / gl_NumWorkGroups.y * kRows;
  const uint first_token = id % gl_NumWorkGroups.y * kTokens;
  const uint count = active_rows(kCompact, rows, tokens);
  if (first_row >= outputs || first_token >= count) return;
  const uint of_row = gl_SubgroupID % kGroupRows * kBlockRows * kM;
  const uint of_token = gl_SubgroupID / kGroupRows * kBlockTokens * kN;

  coopmat<float, gl_ScopeSubgroup, kM, kN, gl_MatrixUseAccumulator> sums[kBlockRows][kBlockTokens];
  [[unroll]] for (uint r = 0; r < kBlockRows; ++r) {
    [[unroll]] for (uint t = 0; t < kBlockTokens; ++t) {
      sums[r][t] = coopmat<float, gl_ScopeSubgroup, kM, kN, gl_MatrixUseAccumulator>(0);
    }
  }
  Held held[kHeld];
  uvec4 held_x[kHeldTokens];
  const uint steps = width / kChunk;
  for (uint c = 0; c <= steps; ++c) {
    // Step c is loaded while step c - 1 is multiplied.
    if (c < steps) {
      [[unroll]] for (uint h = 0; h < kHeld; ++h) held[h] = load_weights(first_row, h, c);
      [[unroll]] for (uint h = 0; h < kHeldTokens; ++h) {
        const uint i = lane() + h * kLanes;
        const uint token = min(first_token + i / kVectors, count - 1);
        held_x[h] = Vectors(halves + uint64_t(token) * (width * 2)).v[c * kVectors + i % kVectors];
      }
    }
    if (c > 0) {
      const uint half_ = (c - 1) % 2;
      [[unroll]] for (uint k = 0; k < kChunk / kK; ++k) {
        coopmat<float16_t, gl_ScopeSubgroup, kM, kK, gl_MatrixUseA> w[kBlockRows];
        [[unroll]] for (uint r = 0; r < kBlockRows; ++r) {
          coopMatLoad(w[r], w_tile, (half_ * kRows + of_row + r * kM) * kPitch + k * kK / 8, kPitch,
                      gl_CooperativeMatrixLayoutRowMajor);
        }
        [[unroll]] for (uint t = 0; t < kBlockTokens; ++t) {
          coopmat<float16_t, gl_ScopeSubgroup, kK, kN, gl_MatrixUseB> xs;
          coopMatLoad(xs, x_tile, (half_ * kTokens + of_token + t * kN) * kPitch + k * kK / 8, kPitch,
                      gl_CooperativeMatrixLayoutColumnMajor);
          [[unroll]] for (uint r = 0; r < kBlockRows; ++r) {
            sums[r][t] = coopMatMulAdd(w[r], xs, sums[r][t]);
          }
        }
      }
    }
    if (c < steps) {
      [[unroll]] for (uint h = 0; h < kHeld; ++h) store_weights(c % 2, h, held[h]);
      [[unroll]] for (uint h = 0; h < kHeldTokens; ++h) {
        const uint i = lane() + h * kLanes;
        if (i >= kTokens * kVectors) continue;
        x_tile[(c % 2 * kTokens + i / kVectors) * kPitch + i % kVectors] = held_x[h];
      }
    }
    barrier();
  }

  // Where a sum lies in a matrix only the device knows: each goes by way of shared memory, a subgroup's own.
  const uint vectors = kM * kN / 4, own = gl_SubgroupID * vectors;
  [[unroll]] for (uint r = 0; r < kBlockRows; ++r) {
    [[unroll]] for (uint t = 0; t < kBlockTokens; ++t) {
      coopMatStore(sums[r][t], w_tile, own, kM / 4, gl_CooperativeMatrixLayoutColumnMajor);
      subgroupMemoryBarrierShared();
      subgroupBarrier();
      for (uint i = gl_SubgroupInvocationID; i < vectors; i += kSubgroup) {
        const uint token = first_token + of_token + t * kN + i / (kM / 4);
        const uint row = first_row + of_row + r * kM + i % (kM / 4) * 4;
        if (token >= count || row >= outputs) continue;
        const vec4 sum = uintBitsToFloat(w_tile[own + i]) * (F32(scales).v[token] / kScale);
        const uint64_t to = y + (uint64_t(token) * outputs + row) * 4;
        if (kAligned) {
          F32x4(to).v[0] = sum;
        } else {
          for (uint e = 0; e < min(4, outputs - row); ++e) F32(to).v[e] = sum[e];
        }
      }
      subgroupBarrier();
    }
  }
}
