// Dot products of weights with activations that a workgroup holds in shared memory, for products of a few
// tokens. A unit is what a lane takes of a row at a time: sixteen bytes of it that are aligned and lie beside
// its neighbours', or, of blocks that fit no such pattern, a chunk (weights.glsl).
//
// Quantized weights meet activations of eight bits, with a scale for each 32, in integer dot products of four.
// A unit holds what was loaded as it is: unpacking it where it is loaded would wait for it there.
// Needs kWidth, of the rows, and kTokens.
#extension GL_KHR_shader_subgroup_shuffle : require

#if defined(WEIGHT_f32) || defined(WEIGHT_f16) || defined(WEIGHT_bf16)
#define FLOAT_UNITS
#endif

#if defined(FLOAT_UNITS)

const uint kUnitValues = 16 / kWeightBytes;
const uint kUnits = kWidth / kUnitValues, kRowBytes = kWidth * kWeightBytes;
layout(constant_id = 11) const bool kStaged = true;  // else activations are read where they are
shared vec4 staged[kStaged ? kTokens * kWidth / 4 : 1];

#define Unit uvec4
Unit load_unit(uint64_t row, uint u) { return Words(row).v[u]; }
vec4 unit_values(Unit unit, uint i) {
#if defined(WEIGHT_f32)
  return uintBitsToFloat(unit);
#else
  const uvec2 bits = i == 0 ? unit.xy : unit.zw;
#if defined(WEIGHT_f16)
  return vec4(unpackHalf2x16(bits.x), unpackHalf2x16(bits.y));
#else
  return uintBitsToFloat(uvec4(bits.x << 16, bits.x & 0xffff0000u, bits.y << 16,
                               bits.y & 0xffff0000u));
#endif
#endif
}
// `from` is the token's row in memory.
float unit_dot(Unit unit, uint u, uint t, uint64_t from) {
  float sum = 0;
  [[unroll]] for (uint i = 0; i < kUnitValues / 4; ++i) {
    const uint at = u * (kUnitValues / 4) + i;
    sum += dot(unit_values(unit, i), kStaged ? staged[t * (kWidth / 4) + at] : F32x4(from).v[at]);
  }
  return sum;
}
void stage(uint t, uint i, vec4 x) {
  if (kStaged) staged[t * (kWidth / 4) + i] = x;
}

#else

spirv_instruction(extensions = ["SPV_KHR_integer_dot_product"], capabilities = [6019, 6018], id = 4450)
int packed_dot(uint a, uint b, spirv_literal int format);
int dot4(uint a, uint b) { return packed_dot(a, b, 0); }  // of four signed bytes

const uint kBlocks = kWidth / 32;  // of activations, which share a scale
const uint kXVectors = kWidth / 16;
shared uvec4 codes[kTokens * kXVectors];
shared float scales[kTokens * kBlocks];
shared float half_sums[kHasMinimum ? kTokens * kBlocks * 2 : 1];  // of sixteen activations

// Values 4i to 4i + 3 of a token; eight neighbouring lanes have a block.
void stage(uint t, uint i, vec4 x) {
  const vec4 sizes = abs(x);
  float most = max(max(sizes.x, sizes.y), max(sizes.z, sizes.w));
  [[unroll]] for (uint apart = 1; apart < 8; apart *= 2) {
    most = max(most, subgroupShuffleXor(most, apart));
  }
  const float scale = most / 127;
  const vec4 rounded = round(x * (scale > 1e-38 ? 1 / scale : 0));
  const uvec4 bytes = uvec4(ivec4(rounded)) & 255u;
  const uint code = bytes.x | bytes.y << 8 | bytes.z << 16 | bytes.w << 24;
  const uint block = i / 8, word = i % 8;
  if (word == 0) scales[t * kBlocks + block] = scale;
  if (kHasMinimum) {
    float sum = rounded.x + rounded.y + rounded.z + rounded.w;
    sum += subgroupShuffleXor(sum, 1);
    sum += subgroupShuffleXor(sum, 2);
    if (word % 4 == 0) half_sums[(t * kBlocks + block) * 2 + word / 4] = sum * scale;
  }
#if defined(WEIGHT_q8_0)
  codes[t * kXVectors + word / 4 * kBlocks + block][word % 4] = code;  // halves of blocks apart, as the weights'
#else
  codes[t * kXVectors + i / 4][i % 4] = code;
#endif
}

int dot16(uvec4 a, uvec4 b) { return dot4(a.x, b.x) + dot4(a.y, b.y) + dot4(a.z, b.z) + dot4(a.w, b.w); }

#if defined(WEIGHT_q8_0)

// A block of a split row (split_rows.h).
const uint kRowBytes = kBlocks * 34, kUnits = kBlocks;
struct Unit {
  uvec4 low, high;
  uint scale;  // f16
};
Unit load_unit(uint64_t row, uint u) {
  const uint at = split_at(u);
  return Unit(Words(row).v[at], Words(row).v[at + split_apart(u, kBlocks)],
              uint(U16(row + kWidth).v[u]));
}
float unit_dot(Unit unit, uint u, uint t, uint64_t from) {
  const uint at = t * kXVectors + u;
  const int sum = dot16(unit.low, codes[at]) + dot16(unit.high, codes[at + kBlocks]);
  return f16_to_float(unit.scale) * scales[t * kBlocks + u] * float(sum);
}

#elif defined(WEIGHT_q4_k) || defined(WEIGHT_q5_k)

// Sixteen bytes of nibbles: half of two neighbouring sub-blocks.
const uint kRowBytes = kWidth / 256 * kBlockBytes, kUnits = kWidth / 32;
struct Unit {
  uvec4 head, nibbles;
#if defined(WEIGHT_q5_k)
  uvec4 fifths;
#endif
};
Unit load_unit(uint64_t row, uint u) {
  const uint64_t block = row + (u >> 3) * kBlockBytes;
  Unit unit;
  unit.head = Words(block).v[0];
  unit.nibbles = Words(block + kNibbles).v[u & 7u];
#if defined(WEIGHT_q5_k)
  unit.fifths = Words(block + 16).v[u & 1u];
#endif
  return unit;
}
float unit_dot(Unit unit, uint u, uint t, uint64_t from) {
  uvec4 low_codes = unit.nibbles & 0x0f0f0f0fu, high_codes = unit.nibbles >> 4 & 0x0f0f0f0fu;
#if defined(WEIGHT_q5_k)
  const uvec4 fifths = unit.fifths >> (u & 6u);
  low_codes |= (fifths & 0x01010101u) << 4;
  high_codes |= (fifths & 0x02020202u) << 3;
#endif
  const uint group = (u & 7u) >> 1, half_ = u & 1u;
  const uint first = (u >> 3) * 8 + 2 * group;  // block of activations, as sub-blocks of weights are
  // The 6-bit scales and minimums of sub-blocks 2 group and the next, from the twelve bytes in y, z, w.
  const uint shift = 16 * (group & 1u);
  uint scale = unit.head.y >> shift, minimum = unit.head.z >> shift;
  if (group >= 2) {
    const uint low = unit.head.w >> shift;
    scale = (low & 0x0f0fu) | (scale >> 2 & 0x3030u);
    minimum = (low >> 4 & 0x0f0fu) | (minimum >> 2 & 0x3030u);
  }
  const vec2 d = unpackHalf2x16(unit.head.x);
  const uint at = t * kXVectors + first * 2 + half_, of_scale = t * kBlocks + first;
  const float low = float(dot16(low_codes, codes[at])) * scales[of_scale];
  const float high = float(dot16(high_codes, codes[at + 2])) * scales[of_scale + 1];
  return d.x * (float(scale & 63u) * low + float(scale >> 8 & 63u) * high) -
         d.y * (float(minimum & 63u) * half_sums[2 * of_scale + half_] +
                float(minimum >> 8 & 63u) * half_sums[2 * of_scale + 2 + half_]);
}

#elif defined(WEIGHT_q6_k)

// Sixteen bytes of low bits, half of two sub-blocks that are 64 values apart, with the high bits of both.
const uint kRowBytes = kWidth / 256 * 210, kUnits = kWidth / 32;
// Blocks are only 2-byte aligned: whole words around what is wanted are loaded, and shifted later.
struct Unit {
  uvec4 nibbles, bits;
  uint last_nibbles, last_bits;  // words
  bool odd;
  uint low_scales, high_scales, scale;  // two bytes of scales, of halves, for each sub-block; f16
};
Unit load_unit(uint64_t row, uint u) {
  const uint64_t block = row + (u >> 3) * 210;
  const uint upper = u >> 2 & 1u, group = u >> 1 & 1u;
  Unit unit;
  unit.odd = (uint(block) & 2u) != 0;
  const uint64_t first = block - (uint(block) & 2u);
  const uint64_t nibbles = first + (u & 7u) * 16, bits = first + 128 + 32 * upper + 16 * (u & 1u);
  unit.nibbles = U32x4(nibbles).v;
  unit.last_nibbles = U32(nibbles).v[4];
  unit.bits = U32x4(bits).v;
  unit.last_bits = U32(bits).v[4];
  const uint64_t at = block + 192 + 8 * upper + 2 * group;
  unit.low_scales = uint(U16(at).v[0]);
  unit.high_scales = uint(U16(at + 4).v[0]);
  unit.scale = uint(U16(block + 208).v[0]);
  return unit;
}
uvec4 realigned(bool odd, uvec4 a, uint last) {
  return odd ? uvec4(straddling(a.x, a.y), straddling(a.y, a.z), straddling(a.z, a.w),
                     straddling(a.w, last))
             : a;
}
float unit_dot(Unit unit, uint u, uint t, uint64_t from) {
  const uint group = u >> 1 & 1u, half_ = u & 1u;
  const uvec4 nibbles = realigned(unit.odd, unit.nibbles, unit.last_nibbles);
  const uvec4 bits = realigned(unit.odd, unit.bits, unit.last_bits) >> (2 * group);
  const uvec4 low = (nibbles & 0x0f0f0f0fu) | (bits & 0x03030303u) << 4;
  const uvec4 high = (nibbles >> 4 & 0x0f0f0f0fu) | (bits & 0x30303030u);
  const uvec4 low_codes = ((low | 0x80808080u) - 0x20202020u) ^ 0x80808080u;
  const uvec4 high_codes = ((high | 0x80808080u) - 0x20202020u) ^ 0x80808080u;
  const int low_scale = int(unit.low_scales) << (24 - 8 * half_) >> 24;
  const int high_scale = int(unit.high_scales) << (24 - 8 * half_) >> 24;
  const uint first = (u >> 3) * 8 + (u >> 2 & 1u) * 4 + group;  // block of activations
  const uint at = t * kXVectors + first * 2 + half_, of_scale = t * kBlocks + first;
  const float sum = float(low_scale) * scales[of_scale] * float(dot16(low_codes, codes[at])) +
                    float(high_scale) * scales[of_scale + 2] * float(dot16(high_codes, codes[at + 4]));
  return f16_to_float(unit.scale) * sum;
}

#else

// A chunk.
#if defined(WEIGHT_q4_0)
const uint kChunkBytes = 18;
#elif defined(WEIGHT_q4_1)
const uint kChunkBytes = 20;
#elif defined(WEIGHT_q5_0)
const uint kChunkBytes = 22;
#else
const uint kChunkBytes = 24;
#endif
const uint kRowBytes = kBlocks * kChunkBytes, kUnits = kBlocks;
#define Unit Chunk
Unit load_unit(uint64_t row, uint u) { return load_chunk(row, u, kWidth); }
float unit_dot(Unit unit, uint u, uint t, uint64_t from) {
  const uint at = t * kXVectors + 2 * u, of_scale = t * kBlocks + u;
  const uvec4 low = uvec4(unit.q[0], unit.q[1], unit.q[2], unit.q[3]);
  const uvec4 high = uvec4(unit.q[4], unit.q[5], unit.q[6], unit.q[7]);
  const int sum = dot16(low, codes[at]) + dot16(high, codes[at + 1]);
  float result = unit.scale.x * scales[of_scale] * float(sum);
  if (kHasMinimum) {
    result -= unit.minimum * (half_sums[2 * of_scale] + half_sums[2 * of_scale + 1]);
  }
  return result;
}

#endif
#endif
