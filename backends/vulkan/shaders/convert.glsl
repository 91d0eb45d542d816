// Between f32 and the 16-bit floats, to nearest even: what GLSL's own packing does is up to the device.
float f16_to_float(uint h) { return unpackHalf2x16(h).x; }
float bf16_to_float(uint h) { return uintBitsToFloat(h << 16); }

uint float_to_bf16(float x) {
  const uint bits = floatBitsToUint(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;  // NaN stays NaN
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

uint float_to_f16(float x) {
  const uint bits = floatBitsToUint(x), sign = (bits >> 16) & 0x8000u, size = bits & 0x7fffffffu;
  if (size > 0x7f800000u) return sign | 0x7e00u;   // NaN
  if (size >= 0x477ff000u) return sign | 0x7c00u;  // rounds to infinity
  if (size < 0x38800000u) {                        // below 2^-14: multiples of 2^-24
    // The mantissa with its leading one, shifted until its unit is 2^-24, then rounded.
    const uint exponent = size >> 23;
    if (exponent < 102) return sign;
    const uint mantissa = (size & 0x7fffffu) | 0x800000u, shift = 126 - exponent;
    const uint kept = mantissa >> shift, rest = mantissa & ((1u << shift) - 1u);
    const uint half_unit = 1u << (shift - 1);
    const bool up = rest > half_unit || (rest == half_unit && (kept & 1u) != 0);
    return sign | (kept + (up ? 1u : 0u));
  }
  return sign | ((size - 0x38000000u + 0xfffu + ((size >> 13) & 1u)) >> 13);
}

// Rows of q8_0 are blocks of 32 values: an f16 scale, then the codes. Heads of a cache are whole blocks.
const uint kQ8Block = 32, kQ8Bytes = 34;
const uint kSplitBlocks = 32;  // whose halves lie together in a split row (split_rows.h)
uint values_bytes(uint dtype, uint count) {
  return dtype == kF32 ? 4 * count : dtype == kQ8 ? count / kQ8Block * kQ8Bytes : 2 * count;
}
// Values 4i to 4i + 3 of a q8_0 row.
vec4 load_q8(uint64_t row, uint i) {
  const uint64_t block = row + i / 8 * kQ8Bytes;
  const uint at = 1 + i % 8 * 2;
  const int low = int(U16(block).v[at]), high = int(U16(block).v[at + 1]);
  const vec4 codes = vec4(bitfieldExtract(low, 0, 8), bitfieldExtract(low, 8, 8),
                          bitfieldExtract(high, 0, 8), bitfieldExtract(high, 8, 8));
  return f16_to_float(uint(U16(block).v[0])) * codes;
}

float load_float(uint64_t from, uint dtype, uint i) {
  if (dtype == kF32) return F32(from).v[i];
  const uint bits = uint(U16(from).v[i]);
  return dtype == kF16 ? f16_to_float(bits) : bf16_to_float(bits);
}
void store_float(uint64_t to, uint dtype, uint i, float x) {
  if (dtype == kF32) {
    F32(to).v[i] = x;
  } else {
    U16(to).v[i] = uint16_t(dtype == kF16 ? float_to_f16(x) : float_to_bf16(x));
  }
}
// One block of q8_0, of 32 values of a row in another dtype; as ops/quantize.cpp rounds.
void store_q8(uint64_t block, uint64_t from, uint dtype, uint first) {
  float largest = 0;
  for (uint e = 0; e < kQ8Block; ++e) largest = max(largest, abs(load_float(from, dtype, first + e)));
  const float scale = largest / 127;
  // Of a block of subnormals the inverse overflows; its scale is zero in f16.
  const float inverse = scale > 1e-38 ? 1 / scale : 0;
  U16(block).v[0] = uint16_t(float_to_f16(scale));
  for (uint e = 0; e < kQ8Block; e += 2) {
    uint pair = 0;
    for (uint half_ = 0; half_ < 2; ++half_) {
      const float x = load_float(from, dtype, first + e + half_) * inverse;
      const int code = int(sign(x) * floor(abs(x) + 0.5));  // halves away from zero
      pair |= (uint(code) & 0xffu) << (8 * half_);
    }
    U16(block).v[1 + e / 2] = uint16_t(pair);
  }
}
void copy_q8(uint64_t to, uint64_t from) {
  for (uint e = 0; e < kQ8Bytes / 2; ++e) U16(to).v[e] = U16(from).v[e];
}
