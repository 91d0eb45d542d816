#include "backends/cpu/panel/tile_panel.h"

#include <algorithm>

#if defined(__x86_64__)

namespace l2a {
namespace {

using namespace x86;

constexpr std::int64_t kBlock = 32;  // tokens and weight rows of the four tiles of sums

std::int64_t steps_of(std::int64_t k) { return (k + kTileDepth - 1) / kTileDepth; }

// Sums of one or two tiles of tokens with the two tiles of weights, to `c` or added to it. Results are megabytes apart
// from those of the last panel, so that storing them would wait for memory: those after these are asked for meanwhile.
template <int kTokenTiles>
L2A_AMX void block(std::int64_t steps, const std::byte* panel, const std::byte* x,
                   std::int64_t x_stride, float* c, std::int64_t c_stride, bool add) {
  const std::int64_t row = c_stride * static_cast<std::int64_t>(sizeof(float));
  float* const below = c + 16 * c_stride;
  if (add) {
    before_tile_loads();
    _tile_loadd(0, c, row);
    _tile_loadd(1, c + 16, row);
    if constexpr (kTokenTiles == 2) {
      _tile_loadd(2, below, row);
      _tile_loadd(3, below + 16, row);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const float* ahead = c + kBlock * c_stride;
  for (std::int64_t s = 0; s < steps; ++s, x += kTileBytes, panel += 2 * kTileBytes) {
    __builtin_prefetch(ahead, 0, 2);
    __builtin_prefetch(ahead + 16, 0, 2);
    ahead += c_stride;
    _tile_loadd(4, x, kTileRowBytes);
    _tile_loadd(6, panel, kTileRowBytes);
    _tile_loadd(7, panel + kTileBytes, kTileRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTokenTiles == 2) {
      _tile_loadd(5, x + x_stride, kTileRowBytes);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, c, row);
  _tile_stored(1, c + 16, row);
  if constexpr (kTokenTiles == 2) {
    _tile_stored(2, below, row);
    _tile_stored(3, below + 16, row);
  }
}

void copy(std::int64_t rows, std::int64_t columns, const float* from, std::int64_t from_stride,
          float* to, std::int64_t to_stride) {
  for (std::int64_t r = 0; r < rows; ++r)
    std::copy_n(from + r * from_stride, columns, to + r * to_stride);
}

}  // namespace

L2A_AMX void store_tile_activation(std::int64_t k, const float* x, std::int64_t token,
                                   std::byte* to) {
  to += token / kTileRows * steps_of(k) * kTileBytes + token % kTileRows * kTileRowBytes;
  for (std::int64_t i = 0; i < k; i += kTileDepth, to += kTileBytes) {
    const __m512 low = _mm512_maskz_loadu_ps(first_lanes(k - i), x + i);
    const __m512 high =
        _mm512_maskz_loadu_ps(first_lanes(std::max<std::int64_t>(k - i - 16, 0)), x + i + 16);
    _mm512_store_si512(to, to_bf16(low, high));
  }
}

L2A_AMX void multiply_tile_panel(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                                 const PanelOutput& out) {
  const TileScope tiles;
  before_tile_loads();
  const std::int64_t x_stride = steps_of(x.inner) * kTileBytes;
  const std::byte* from = x.data + x.first / kTileDepth * kTileBytes;
  for (std::int64_t token = 0; token < x.count; token += kBlock, from += 2 * x_stride) {
    const std::int64_t tokens = std::min(x.count - token, kBlock);
    float* const c = out.data + token * out.stride;
    const auto multiply = tokens > kTileRows ? block<2> : block<1>;
    const std::int64_t rows = tokens > kTileRows ? kBlock : kTileRows;
    if (tokens == rows && out.rows == kBlock) {
      multiply(steps_of(k), panel, from, x_stride, c, out.stride, out.add);
      continue;
    }
    float edge[kBlock * kBlock] = {};
    if (out.add) copy(tokens, out.rows, c, out.stride, edge, kBlock);
    multiply(steps_of(k), panel, from, x_stride, edge, kBlock, out.add);
    copy(tokens, out.rows, edge, kBlock, c, out.stride);
  }
}

}  // namespace l2a

#endif
