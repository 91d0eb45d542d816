// Activations as the quantized dot products read them: one format for every weight type.
//
// Per 32 values: q = round(x / scale) in [-127, 127], scale = max|x| / 127, and sum = scale * Σq,
// which is what the minimums and offsets of the weight types multiply:
//     Σ (d q_w + m) · scale q_x  =  d · scale · Σ q_w q_x  +  m · sum
// Scales stay f32: they cost 8 bytes for 32 values that are read once for many rows.
// The three are separate arrays, so that kernels load scales and sums of several blocks at once.
#pragma once

#include <cstddef>
#include <cstdint>

namespace l2a {

// A view of one quantized row; like a pointer, it does not own and its constness is shallow.
struct ActivationRow {
  std::int8_t* q;
  float* scale;
  float* sum;

  // The row from its `blocks`-th block of 32 on.
  ActivationRow from(std::int64_t blocks) const {
    return {q + 32 * blocks, scale + blocks, sum + blocks};
  }
};

// Bytes of a row of k values (a multiple of 32), rounded up so that rows in one buffer stay
// aligned.
constexpr std::size_t activation_row_bytes(std::int64_t k) {
  const auto bytes = static_cast<std::size_t>(k + k / 32 * 8);
  return (bytes + 63) / 64 * 64;
}

// The view of a row in `buffer`, which is 64-byte aligned and activation_row_bytes(k) long.
inline ActivationRow activation_row(std::byte* buffer, std::int64_t k) {
  auto* scale = reinterpret_cast<float*>(buffer + k);
  return {reinterpret_cast<std::int8_t*>(buffer), scale, scale + k / 32};
}

}  // namespace l2a
