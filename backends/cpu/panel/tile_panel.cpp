#include "backends/cpu/panel/tile_panel.h"

#include <algorithm>

#if defined(__x86_64__)

namespace l2a {
namespace {

using namespace x86;

constexpr std::int64_t kBlock = 32;  // tokens and weight rows of the four tiles of sums

std::int64_t steps_of(std::int64_t k) { return (k + kTileDepth - 1) / kTileDepth; }

// Results of a block on their way to the output. They leave by vector stores while the next block is multiplied, which
// keeps those idle: stored as tiles, sixteen rows whose distance is a multiple of 4 KiB push each other out of the
// first-level cache.
struct Leaving {
  const float* from;  // kBlock x kBlock
  float* to;
  std::int64_t stride, tokens;
  __mmask16 first, second;  // of 32 rows, those that exist
  bool add;

  L2A_AMX void token(std::int64_t t) const {
    float* const at = to + t * stride;
    __m512 low = _mm512_load_ps(from + t * kBlock), high = _mm512_load_ps(from + t * kBlock + 16);
    if (add) {
      low = _mm512_add_ps(low, _mm512_maskz_loadu_ps(first, at));
      high = _mm512_add_ps(high, _mm512_maskz_loadu_ps(second, at + 16));
    }
    _mm512_mask_storeu_ps(at, first, low);
    _mm512_mask_storeu_ps(at + 16, second, high);
  }
};

// Sums of one or two tiles of tokens with the two tiles of weights, to `c`, kBlock apart.
template <int kTokenTiles>
L2A_AMX void block(std::int64_t steps, const std::byte* panel, const std::byte* x,
                   std::int64_t x_stride, float* c, const Leaving& before) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  std::int64_t left = 0;
  for (std::int64_t s = 0; s < steps; ++s, x += kTileBytes, panel += 2 * kTileBytes) {
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
    if (left < before.tokens) before.token(left++);
  }
  for (; left < before.tokens; ++left) before.token(left);
  constexpr std::int64_t kRow = kBlock * sizeof(float);
  _tile_stored(0, c, kRow);
  _tile_stored(1, c + 16, kRow);
  if constexpr (kTokenTiles == 2) {
    _tile_stored(2, c + 16 * kBlock, kRow);
    _tile_stored(3, c + 16 * kBlock + 16, kRow);
  }
  before_tile_loads();
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
  alignas(64) float sums[2][kBlock * kBlock];
  const __mmask16 first = first_lanes(out.rows);
  const __mmask16 second = first_lanes(std::max<std::int64_t>(out.rows - 16, 0));
  Leaving before{};
  const std::int64_t x_stride = steps_of(x.inner) * kTileBytes;
  const std::byte* from = x.data + x.first / kTileDepth * kTileBytes;
  for (std::int64_t token = 0, i = 0; token < x.count; token += kBlock, i ^= 1) {
    const std::int64_t tokens = std::min(x.count - token, kBlock);
    const auto multiply = tokens > kTileRows ? block<2> : block<1>;
    multiply(steps_of(k), panel, from, x_stride, sums[i], before);
    before = {sums[i], out.data + token * out.stride, out.stride, tokens, first, second, out.add};
    from += 2 * x_stride;
  }
  for (std::int64_t t = 0; t < before.tokens; ++t) before.token(t);
}

}  // namespace l2a

#endif
