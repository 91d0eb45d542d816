// Rows of weights in any dtype, 32 values at a time: a chunk. WEIGHT_<dtype> says which; the layouts
// are those of ops/blocks.h.
//
// A chunk of a quantized dtype is eight words of signed bytes q, in element order, with a scale for
// each half: value = scale * q - minimum. Where blocks are only 2-byte aligned (34, 18, 22, 210 bytes),
// the whole words around them are loaded and shifted: a word load costs what a half-word load does. This
// may read up to two bytes past a tensor, which every allocation has (memory.h).
layout(constant_id = 2) const uint kRowKind = 1;         // bits, as kernels/kernels.h has them
const bool kAligned = (kRowKind & 1u) != 0;              // rows of plain floats, and the other side's
const bool kSplitRows = (kRowKind & 2u) != 0;            // of q8_0: split_rows.h
const uint kChunk = 32;

#if defined(WEIGHT_f32) || defined(WEIGHT_f16) || defined(WEIGHT_bf16)

#if defined(WEIGHT_f32)
const uint kWeightDtype = kF32, kWeightBytes = 4;
#elif defined(WEIGHT_f16)
const uint kWeightDtype = kF16, kWeightBytes = 2;
#else
const uint kWeightDtype = kBf16, kWeightBytes = 2;
#endif

struct Chunk {
  uint64_t at;
  uint left;  // values from here to the end of the row
};

Chunk load_chunk(uint64_t row, uint c, uint width) {
  return Chunk(row + uint64_t(c) * (kChunk * kWeightBytes), width - c * kChunk);
}

// Past the end of an aligned row, its last vector again; a branch would cost more.
vec4 chunk_integers(Chunk chunk, uint i) {
  if (kAligned) {
    const uint at = min(i, chunk.left / 4 - 1);
#if defined(WEIGHT_f32)
    return F32x4(chunk.at).v[at];
#else
    const uvec2 bits = U32x2(chunk.at + 8 * at).v;
#if defined(WEIGHT_f16)
    return vec4(unpackHalf2x16(bits.x), unpackHalf2x16(bits.y));
#else
    return uintBitsToFloat(uvec4(bits.x << 16, bits.x & 0xffff0000u, bits.y << 16,
                                 bits.y & 0xffff0000u));
#endif
#endif
  }
  vec4 x = vec4(0);
  for (uint e = 0; e < 4; ++e) {
    if (4 * i + e < chunk.left) x[e] = load_float(chunk.at, kWeightDtype, 4 * i + e);
  }
  return x;
}
float chunk_scale(Chunk chunk, uint part) { return 1; }
float chunk_minimum(Chunk chunk) { return 0; }
const bool kHasMinimum = false;
const bool kWholeChunks = false;

#else

const bool kWholeChunks = true;  // of every row
struct Chunk {
  uint q[8];
  vec2 scale;
  float minimum;
};

// Unsigned bytes below 128, less the same number each.
uint subtract_from_bytes(uint bytes, uint each) {
  return ((bytes | 0x80808080u) - each) ^ 0x80808080u;
}
uint straddling(uint low, uint high) { return (low >> 16) | (high << 16); }
// Four bits as the fifth bit of four bytes.
uint fifth_bits(uint bits) { return ((bits & 15u) * 0x00204081u & 0x01010101u) << 4; }

#if defined(WEIGHT_q8_0)
const bool kHasMinimum = false;
// Of a split row: the vector with the first half of block c, and how many vectors later the second half is.
uint split_at(uint c) { return c + (c & ~(kSplitBlocks - 1)); }
uint split_apart(uint c, uint blocks) { return min(blocks - (c & ~(kSplitBlocks - 1)), kSplitBlocks); }
Chunk load_chunk(uint64_t row, uint c, uint width) {
  Chunk chunk;
  chunk.minimum = 0;
  if (kSplitRows) {
    const uint first = split_at(c);
    const uvec4 a = Words(row).v[first], b = Words(row).v[first + split_apart(c, width / kChunk)];
    chunk.q = uint[8](a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
    chunk.scale = vec2(f16_to_float(uint(U16(row + width).v[c])));
    return chunk;
  }
  const uint64_t at = row + c * 34;
  const bool odd = (uint(at) & 2u) != 0;
  const uint64_t first = at - (uint(at) & 2u);
  const uvec4 a = U32x4(first).v, b = U32x4(first + 16).v;
  const uint w[9] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, U32(first).v[8]};
  [[unroll]] for (uint i = 0; i < 8; ++i) chunk.q[i] = odd ? w[i + 1] : straddling(w[i], w[i + 1]);
  chunk.scale = vec2(unpackHalf2x16(odd ? w[0] >> 16 : w[0]).x);
  return chunk;
}

#elif defined(WEIGHT_q4_0)
const bool kHasMinimum = false;
Chunk load_chunk(uint64_t row, uint c, uint width) {
  const uint64_t at = row + c * 18;
  const bool odd = (uint(at) & 2u) != 0;
  const uint64_t first = at - (uint(at) & 2u);
  const uvec4 a = U32x4(first).v;
  const uint w[5] = {a.x, a.y, a.z, a.w, U32(first).v[4]};
  Chunk chunk;
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    const uint nibbles = odd ? w[i + 1] : straddling(w[i], w[i + 1]);
    chunk.q[i] = subtract_from_bytes(nibbles & 0x0f0f0f0fu, 0x08080808u);
    chunk.q[i + 4] = subtract_from_bytes(nibbles >> 4 & 0x0f0f0f0fu, 0x08080808u);
  }
  chunk.scale = vec2(unpackHalf2x16(odd ? w[0] >> 16 : w[0]).x);
  chunk.minimum = 0;
  return chunk;
}

#elif defined(WEIGHT_q4_1)
const bool kHasMinimum = true;
Chunk load_chunk(uint64_t row, uint c, uint width) {
  const uint64_t at = row + c * 20;
  const uvec4 a = U32x4(at).v;
  const uint w[4] = {a.y, a.z, a.w, U32(at).v[4]};
  const vec2 scales = unpackHalf2x16(a.x);
  Chunk chunk;
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    chunk.q[i] = w[i] & 0x0f0f0f0fu;
    chunk.q[i + 4] = w[i] >> 4 & 0x0f0f0f0fu;
  }
  chunk.scale = scales.xx;
  chunk.minimum = -scales.y;
  return chunk;
}

#elif defined(WEIGHT_q5_0)
const bool kHasMinimum = false;
Chunk load_chunk(uint64_t row, uint c, uint width) {
  const uint64_t at = row + c * 22;
  const bool odd = (uint(at) & 2u) != 0;
  const uint64_t first = at - (uint(at) & 2u);
  const uvec4 a = U32x4(first).v;
  const uvec2 b = U32x2(first + 16).v;
  const uint w[6] = {a.x, a.y, a.z, a.w, b.x, b.y};
  const uint high = odd ? w[1] : straddling(w[0], w[1]);
  Chunk chunk;
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    const uint nibbles = odd ? w[i + 2] : straddling(w[i + 1], w[i + 2]);
    chunk.q[i] = subtract_from_bytes((nibbles & 0x0f0f0f0fu) | fifth_bits(high >> 4 * i),
                                     0x10101010u);
    chunk.q[i + 4] = subtract_from_bytes(
        (nibbles >> 4 & 0x0f0f0f0fu) | fifth_bits(high >> 4 * i >> 16), 0x10101010u);
  }
  chunk.scale = vec2(unpackHalf2x16(odd ? w[0] >> 16 : w[0]).x);
  chunk.minimum = 0;
  return chunk;
}

#elif defined(WEIGHT_q5_1)
const bool kHasMinimum = true;
Chunk load_chunk(uint64_t row, uint c, uint width) {
  const uint64_t at = row + c * 24;
  const uvec4 a = U32x4(at).v;
  const uvec2 b = U32x2(at + 16).v;
  const uint w[4] = {a.z, a.w, b.x, b.y};
  const vec2 scales = unpackHalf2x16(a.x);
  Chunk chunk;
  [[unroll]] for (uint i = 0; i < 4; ++i) {
    chunk.q[i] = (w[i] & 0x0f0f0f0fu) | fifth_bits(a.y >> 4 * i);
    chunk.q[i + 4] = (w[i] >> 4 & 0x0f0f0f0fu) | fifth_bits(a.y >> 4 * i >> 16);
  }
  chunk.scale = scales.xx;
  chunk.minimum = -scales.y;
  return chunk;
}

#elif defined(WEIGHT_q4_k) || defined(WEIGHT_q5_k)
const bool kHasMinimum = true;
#if defined(WEIGHT_q4_k)
const uint kBlockBytes = 144, kNibbles = 16;
#else
const uint kBlockBytes = 176, kNibbles = 48;
#endif
Chunk load_chunk(uint64_t row, uint c, uint width) {
  const uint64_t at = row + (c >> 3) * kBlockBytes;
  const uint part = c & 7u, byte = 8 * (part & 3u);
  const uvec4 head = U32x4(at).v;
  // The 6-bit scale and minimum of this part, from the twelve bytes in y, z, w.
  uint scale = head.y >> byte & 63u, minimum = head.z >> byte & 63u;
  if (part >= 4) {
    scale = (head.w >> byte & 15u) | (head.y >> byte + 6 & 3u) << 4;
    minimum = (head.w >> byte + 4 & 15u) | (head.z >> byte + 6 & 3u) << 4;
  }
  const uint64_t nibbles = at + (kNibbles + 32 * (part >> 1));
  const uvec4 a = U32x4(nibbles).v, b = U32x4(nibbles + 16).v;
  const uint w[8] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w};
  const uint shift = 4 * (part & 1u);
  Chunk chunk;
  [[unroll]] for (uint i = 0; i < 8; ++i) chunk.q[i] = w[i] >> shift & 0x0f0f0f0fu;
#if defined(WEIGHT_q5_k)
  const uvec4 e = U32x4(at + 16).v, f = U32x4(at + 32).v;
  const uint high[8] = {e.x, e.y, e.z, e.w, f.x, f.y, f.z, f.w};
  [[unroll]] for (uint i = 0; i < 8; ++i) chunk.q[i] |= (high[i] >> part & 0x01010101u) << 4;
#endif
  const vec2 scales = unpackHalf2x16(head.x);
  chunk.scale = vec2(scales.x * float(scale));
  chunk.minimum = scales.y * float(minimum);
  return chunk;
}

#elif defined(WEIGHT_q6_k)
const bool kHasMinimum = false;
void load_words(uint64_t at, out uint words[8]) {
  const bool odd = (uint(at) & 2u) != 0;
  const uint64_t first = at - (uint(at) & 2u);
  const uvec4 a = U32x4(first).v, b = U32x4(first + 16).v;
  const uint w[9] = {a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w, U32(first).v[8]};
  [[unroll]] for (uint i = 0; i < 8; ++i) words[i] = odd ? straddling(w[i], w[i + 1]) : w[i];
}
Chunk load_chunk(uint64_t row, uint c, uint width) {
  const uint64_t at = row + (c >> 3) * 210;
  const uint upper = c >> 2 & 1u, group = c & 3u;  // which half of the block, which 32 of its 128
  uint low[8], high[8];
  load_words(at + (64 * upper + 32 * (group & 1u)), low);
  load_words(at + (128 + 32 * upper), high);
  const uint shift = group < 2 ? 0 : 4;
  Chunk chunk;
  [[unroll]] for (uint i = 0; i < 8; ++i) {
    const uint q =
        (low[i] >> shift & 0x0f0f0f0fu) | (high[i] >> 2 * group & 0x03030303u) << 4;
    chunk.q[i] = subtract_from_bytes(q, 0x20202020u);
  }
  const int scales = int(uint(U16(at + (192 + 8 * upper + 2 * group)).v[0]));
  const float d = f16_to_float(uint(U16(at + 208).v[0]));
  chunk.scale = d * vec2(scales << 24 >> 24, scales << 16 >> 24);
  chunk.minimum = 0;
  return chunk;
}
#endif

vec4 chunk_integers(Chunk chunk, uint i) {
  const int q = int(chunk.q[i]);
  return vec4(ivec4(q << 24, q << 16, q << 8, q) >> 24);
}
float chunk_scale(Chunk chunk, uint part) { return chunk.scale[part]; }
float chunk_minimum(Chunk chunk) { return chunk.minimum; }
#endif

// Four of the chunk's values, i from 0 to 7.
vec4 chunk_values(Chunk chunk, uint i) {
  return chunk_scale(chunk, i / 4) * chunk_integers(chunk, i) - chunk_minimum(chunk);
}
