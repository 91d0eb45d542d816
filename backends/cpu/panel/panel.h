// Products of many tokens with a weight, by panels.
//
// A panel is a few dozen weight rows, unpacked and interleaved so that one vector holds the same
// places of sixteen rows: a place of a token's activations is then broadcast to all of
// them, sums stay in lanes of their own, and nothing is summed across lanes. A thread packs a panel
// into its own second-level cache and multiplies every token with it, a tile of panel rows times a
// few tokens in registers at a time.
//
// Panels are packed anew for each product instead of once at load. Packing takes 3% to 5% of a
// prompt of 512; in return the weights stay where the file is mapped: loading takes no time, no
// memory is taken twice, and single tokens read the compact rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

namespace l2a {

// Weight rows, from the place where a panel starts.
struct PanelRows {
  const std::byte* data;
  std::int64_t stride;  // bytes from row to row
  std::int64_t count;   // 1 to PanelKernel::rows

  // Rows beyond the last repeat it: what they give is not stored.
  const std::byte* row(std::int64_t i) const { return data + (i < count ? i : count - 1) * stride; }
};

// What panels are multiplied with.
enum class PanelActivations : std::uint8_t {
  f32,           // as they are
  biased_bytes,  // quantized as in activation.h, but with 128 added to each q
  bf16_tiles,    // as AMX loads them (tile_panel.h)
};

// Rows of activations.
struct PanelTokens {
  const std::byte* data;
  std::int64_t stride;  // bytes from token to token; of no meaning for tiles
  std::int64_t count;
  std::int64_t inner;  // values of a row
  std::int64_t first;  // of them that meets the panel
};

// Where out[t][n] goes, for as many n as the panel has rows.
struct PanelOutput {
  float* data;
  std::int64_t stride;  // floats from token to token
  std::int64_t rows;    // of the panel that exist
  bool add;             // to what is there, else in its place
};

struct PanelKernel {
  std::int64_t rows = 0;    // of a panel; 0: this level has no panels of the dtype
  std::int64_t depth = 0;   // values of a row that a panel takes at most; whole blocks of any dtype
  std::int64_t tokens = 0;  // that a panel meets at most before the next is packed
  std::size_t bytes = 0;    // of a panel, which is 64-byte aligned
  PanelActivations activations = PanelActivations::f32;
  // The first k values of `weights`; of quantized ones, a multiple of the dtype's block.
  void (*pack)(const PanelRows& weights, std::int64_t k, std::byte* panel) = nullptr;
  void (*multiply)(std::int64_t k, const std::byte* panel, const PanelTokens& x,
                   const PanelOutput& out) = nullptr;
};

inline constexpr std::int64_t kAnyTokens = std::int64_t{1} << 62;

// Calls f<n>(token) for tiles of n tokens that cover `count` of them: of kMost each, then one of what is left.
template <int kMost, class F>
void for_token_tiles(std::int64_t count, F f) {
  std::int64_t token = 0;
  for (; token + kMost <= count; token += kMost) f.template operator()<kMost>(token);
  const auto left = static_cast<int>(count - token);
  const auto call = [&]<int... kLess>(std::integer_sequence<int, kLess...>) {
    (void)((left == kLess + 1 && (f.template operator()<kLess + 1>(token), true)) || ...);
  };
  call(std::make_integer_sequence<int, kMost - 1>());
}

}  // namespace l2a
