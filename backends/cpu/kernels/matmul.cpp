// y[t, n] = x[t, :] . w[n, :].
//
// One token is bound by reading the weights once, so rows of the weight are split over the threads and each is
// streamed through one dot product; a few tokens go four at a time, so that each weight is unpacked once for four.
// Many tokens are bound by arithmetic: weights are unpacked into panels (panel/panel.h) that all tokens meet.
// For quantized weights the activations are quantized first (activation.h), in parallel over tokens.
#include "ops/matmul.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/panel/tile_panel.h"

namespace l2a::cpu {
namespace {

constexpr std::int64_t kTileBytes =
    24 * 1024;  // of weights; leaves room for four activation rows in 32 KiB

// Tokens from which packing panels pays.
constexpr std::int64_t kPanelTokens = 6;

// What a call works with, for a number of tokens.
struct Work {
  const PanelKernel* panel;  // null: dot products
  bool quantizes;            // the activations
  bool tiles;                // the activations become tiles
  std::int64_t inner;

  std::size_t activation_bytes(std::int64_t tokens) const {
    if (tiles) return tile_activation_bytes(tokens, inner);
    return quantizes ? static_cast<std::size_t>(tokens) * activation_row_bytes(inner) : 0;
  }
};

Work work_of(const CpuCall& call, std::int64_t tokens) {
  const TensorView& weight = call.inputs[Matmul::kWeight];
  const PanelKernel& panel = call.simd.panel(weight.dtype, tokens);
  if (tokens < kPanelTokens || panel.rows == 0)
    return {nullptr, dtype_info(weight.dtype).quantized, false, weight.shape[1]};
  return {&panel, panel.activations == PanelActivations::biased_bytes,
          panel.activations == PanelActivations::bf16_tiles, weight.shape[1]};
}

// Rows of a compact x may be few when it comes to it: too few for tiles, or for any panel, and then be quantized.
std::size_t workspace_bytes(const CpuCall& call) {
  const std::int64_t tokens = call.inputs[Matmul::kX].shape[0];
  std::size_t most = 0;
  for (const std::int64_t limit : {kAnyTokens, call.simd.panel_tokens - 1, kPanelTokens - 1}) {
    const std::int64_t few = std::clamp(limit, std::int64_t{0}, tokens);
    const Work work = work_of(call, few);
    const std::size_t panels =
        work.panel ? work.panel->bytes * static_cast<std::size_t>(call.pool.threads()) : 0;
    most = std::max(most, work.activation_bytes(few) + panels);
  }
  return most;
}

// Products of all tokens with weight rows [begin, end). `column(t)` is what the dot products take for token t.
template <class Kernel, class Column>
void multiply(const CpuCall& call, std::int64_t tokens, std::int64_t begin, std::int64_t end,
              const Kernel& kernel, Column column) {
  const TensorView& weight = call.inputs[Matmul::kWeight];
  const std::int64_t inner = weight.shape[1];
  const std::int64_t tile = std::max<std::int64_t>(kTileBytes / weight.strides[0] / 4 * 4, 4);
  using Columns = std::array<decltype(column(0)), 4>;
  for (std::int64_t first = begin; first < end; first += tile) {
    const std::int64_t last = std::min(first + tile, end);
    std::int64_t t = 0;
    for (; t + 4 <= tokens; t += 4) {
      const Columns columns = {column(t), column(t + 1), column(t + 2), column(t + 3)};
      for (std::int64_t n = first; n < last; ++n) {
        float sums[4];
        kernel.dot4(inner, weight.row<const std::byte>(n), columns.data(), sums);
        for (std::int64_t i = 0; i < 4; ++i) call.output.row<float>(t + i)[n] = sums[i];
      }
    }
    for (; t < tokens; ++t) {
      float* const out = call.output.row<float>(t);
      std::int64_t n = first;
      if constexpr (requires { kernel.rows4; }) {
        for (; n + 4 <= last; n += 4)
          kernel.rows4(inner, weight.row<const std::byte>(n), weight.strides[0], column(t),
                       out + n);
      }
      for (; n < last; ++n) out[n] = kernel.dot(inner, weight.row<const std::byte>(n), column(t));
    }
  }
}

// Products of tokens, from `token` on, with a part of each weight row, from x.first on. Each thread claims panels until
// none are left; `panels` is memory for one of each thread.
void multiply_by_panels(const CpuCall& call, const PanelKernel& kernel, const PanelTokens& x,
                        std::int64_t token, std::byte* panels) {
  const TensorView& weight = call.inputs[Matmul::kWeight];
  const std::int64_t rows = weight.shape[0];
  const std::int64_t depth = std::min(kernel.depth, x.inner - x.first);
  const std::size_t first_byte = dtype_bytes(weight.dtype, x.first);
  const std::int64_t stride = call.output.strides[0] / static_cast<std::int64_t>(sizeof(float));
  std::atomic<std::int64_t> next = 0;
  call.pool.parallel_for(call.pool.threads(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t thread = begin; thread < end; ++thread) {
      std::byte* panel = panels + static_cast<std::size_t>(thread) * kernel.bytes;
      for (;;) {
        const std::int64_t row = next.fetch_add(kernel.rows, std::memory_order_relaxed);
        if (row >= rows) break;
        const std::int64_t count = std::min(kernel.rows, rows - row);
        kernel.pack({weight.row<const std::byte>(row) + first_byte, weight.strides[0], count},
                    depth, panel);
        kernel.multiply(depth, panel, x,
                        {call.output.row<float>(token) + row, stride, count, x.first > 0});
      }
    }
  });
}

// Fours of rows that a thread claims at a time. What is asked for ahead of a claim's end is another thread's, and read
// twice: claims of 128 KiB keep that to a sixteenth.
std::int64_t four_rows_grain(const TensorView& weight, std::int64_t tokens, int threads) {
  constexpr std::int64_t kClaim = 128 * 1024;
  const std::int64_t bytes = 4 * weight.strides[0];
  if (tokens >= 4) return row_grain(bytes * tokens);
  const std::int64_t share = weight.shape[0] / 4 / threads;
  return std::clamp<std::int64_t>(kClaim / bytes, 1, std::max<std::int64_t>(share, 1));
}

void run(const CpuCall& call) {
  const TensorView &x = call.inputs[Matmul::kX], &weight = call.inputs[Matmul::kWeight];
  const std::int64_t inner = weight.shape[1];
  const std::int64_t tokens = active_rows(call.inputs[Matmul::kRows], x.shape[0]);
  if (tokens == 0) return;
  const Work work = work_of(call, tokens);
  auto activation = [&](std::int64_t t) {
    return activation_row(call.workspace + work.activation_bytes(t), inner);
  };
  const std::int8_t bias = work.panel ? -128 : 0;
  if (work.quantizes || work.tiles) {
    call.pool.parallel_for(tokens, row_grain(inner * 4), [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const auto* row = x.row<const float>(t);
        if (work.tiles) {
          call.simd.store_tile_activation(inner, row, t, call.workspace);
        } else {
          call.simd.quantize_activation_row(inner, row, bias, activation(t));
        }
      }
    });
  }
  if (work.panel) {
    // Activations in the outer loops: they stay in the second-level cache while panels pass.
    const PanelKernel& kernel = *work.panel;
    const bool own = work.quantizes || work.tiles;
    std::byte* const panels = call.workspace + work.activation_bytes(tokens);
    for (std::int64_t token = 0; token < tokens; token += kernel.tokens) {
      PanelTokens part = {
          own ? call.workspace + work.activation_bytes(token) : x.row<const std::byte>(token),
          own ? static_cast<std::int64_t>(work.activation_bytes(1)) : x.strides[0],
          std::min(kernel.tokens, tokens - token), inner, 0};
      for (; part.first < inner; part.first += kernel.depth)
        multiply_by_panels(call, kernel, part, token, panels);
    }
    return;
  }
  // In fours of rows, which some kernels take at once.
  const std::int64_t fours = (weight.shape[0] + 3) / 4;
  call.pool.parallel_for(
      fours, four_rows_grain(weight, tokens, call.pool.threads()),
      [&](std::int64_t first, std::int64_t last) {
        const std::int64_t begin = 4 * first, end = std::min(4 * last, weight.shape[0]);
        if (work.quantizes) {
          multiply(call, tokens, begin, end, call.simd.quantized_dot(weight.dtype), activation);
        } else {
          multiply(call, tokens, begin, end, call.simd.float_row(weight.dtype),
                   [&](std::int64_t t) { return x.row<const float>(t); });
        }
      });
}

}  // namespace

const CpuKernel kMatmul = {Matmul::kName, run, workspace_bytes};

}  // namespace l2a::cpu
