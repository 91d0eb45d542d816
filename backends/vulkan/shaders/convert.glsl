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
