// y[t, n] = x[t, :] . w[n, :].
//
// One token is bound by reading the weights once, so rows of the weight are split over the threads and each is
// streamed through one dot product; a few tokens go four at a time, so that each weight is unpacked once for four.
// Many tokens are bound by arithmetic: weights are unpacked into panels (panel/panel.h) that all tokens meet.
// For quantized weights the activations are quantized first (activation.h), in parallel over tokens.
#include "backends/cpu/products.h"

#include <algorithm>
#include <atomic>
#include <cmath>

#include "backends/cpu/kernel.h"
#include "backends/cpu/panel/tile_panel.h"
#include "backends/cpu/row_ops.h"

namespace l2a::cpu {
namespace {

constexpr std::int64_t kTileBytes =
    24 * 1024;  // of weights; leaves room for four activation rows in 32 KiB

// Tokens from which packing panels pays.
constexpr std::int64_t kPanelTokens = 6;

// Tokens whose results of two products wait for their gate, 16 KiB each. Whole tiles.
constexpr std::int64_t kGatedTokens = 128;

// What a call works with, for a number of tokens.
struct Work {
  const PanelKernel* panel;  // null: dot products
  bool quantizes;            // the activations
  bool tiles;                // the activations become tiles
  std::int64_t inner;

  bool copies() const { return quantizes || tiles; }
  std::size_t activation_bytes(std::int64_t tokens) const {
    if (tiles) return tile_activation_bytes(tokens, inner);
    return quantizes ? static_cast<std::size_t>(tokens) * activation_row_bytes(inner) : 0;
  }
};

Work work_of(const SimdKernels& simd, const TensorView& weight, std::int64_t tokens) {
  const PanelKernel& panel = simd.panel(weight.dtype, tokens);
  if (tokens < kPanelTokens || panel.rows == 0)
    return {nullptr, dtype_info(weight.dtype).quantized, false, weight.shape[1]};
  return {&panel, panel.activations == PanelActivations::biased_bytes,
          panel.activations == PanelActivations::bf16_tiles, weight.shape[1]};
}

// Of any of a call's products.
std::size_t panel_bytes(const Products& call, const SimdKernels& simd, std::int64_t tokens) {
  std::size_t most = 0;
  for (int i = 0; i < call.count; ++i) {
    const Dtype dtype = call.each[static_cast<std::size_t>(i)].weight.dtype;
    most = std::max(most, (simd.panel(dtype, tokens).bytes + 63) / 64 * 64);
  }
  return most;
}

// What each thread needs for panels: one, or both of a gate and their results.
std::size_t thread_bytes(const Products& call, const SimdKernels& simd, std::int64_t tokens) {
  const std::size_t panel = panel_bytes(call, simd, tokens);
  if (call.gated.data == nullptr) return panel;
  const PanelKernel& kernel = simd.panel(call.each[0].weight.dtype, tokens);
  return 2 * (panel + static_cast<std::size_t>(kGatedTokens * kernel.rows) * sizeof(float));
}

// One call at work on some tokens.
class Multiplication {
 public:
  Multiplication(const Products& call, ThreadPool& pool, const SimdKernels& simd,
                 std::byte* workspace, std::int64_t tokens)
      : call_(call),
        pool_(pool),
        simd_(simd),
        workspace_(workspace),
        tokens_(tokens),
        work_(work_of(simd, call.each[0].weight, tokens)) {}

  void run() {
    if (work_.copies()) copy_activations();
    if (work_.panel) {
      run_panels();
    } else {
      run_dots();
    }
  }

 private:
  bool gates() const { return call_.gated.data != nullptr; }
  // Whose rows are counted: with a gate the second product's go along with the first's.
  int counted() const { return gates() ? 1 : call_.count; }
  const Product& product(int i) const { return call_.each[static_cast<std::size_t>(i)]; }

  ActivationRow activation(std::int64_t t) const {
    return activation_row(workspace_ + work_.activation_bytes(t), work_.inner);
  }

  void copy_activations() {
    const std::int64_t inner = work_.inner;
    const std::int8_t bias = work_.panel ? -128 : 0;
    pool_.parallel_for(tokens_, row_grain(inner * 4), [&](std::int64_t begin, std::int64_t end) {
      alignas(64) float normed[kMostNormed];
      for (std::int64_t t = begin; t < end; ++t) {
        const auto* row = call_.x.row<const float>(t);
        if (call_.norm != nullptr) {
          norm_row(simd_, inner, row, call_.norm, call_.eps, normed);
          row = normed;
        }
        if (work_.tiles) {
          simd_.store_tile_activation(inner, row, t, workspace_);
        } else {
          simd_.quantize_activation_row(inner, row, bias, activation(t));
        }
      }
    });
  }

  // silu(gate) * up of some tokens' places [begin, end), which were just computed and are in cache.
  void gate(std::int64_t token, std::int64_t tokens, std::int64_t begin, std::int64_t end) const {
    for (std::int64_t t = token; t < token + tokens; ++t) {
      simd_.silu_mul(end - begin, product(0).out.row<const float>(t) + begin,
                     product(1).out.row<const float>(t) + begin, call_.gated.row<float>(t) + begin);
    }
  }

  // Calls f(product, begin, end) for the parts of [begin, end) that each product has, when their `sizes` follow one
  // another.
  template <class Size, class F>
  void for_parts(std::int64_t begin, std::int64_t end, Size size, F f) const {
    for (int i = 0; i < counted(); ++i) {
      const std::int64_t own = size(product(i));
      if (begin < own && end > 0) f(i, std::max<std::int64_t>(begin, 0), std::min(end, own));
      begin -= own;
      end -= own;
    }
  }

  // Activations in the outer loops: they stay in the second-level cache while panels pass.
  void run_panels() {
    const std::int64_t most = work_.panel->tokens, inner = work_.inner;
    const bool whole = inner <= work_.panel->depth;
    for (std::int64_t token = 0; token < tokens_; token += most) {
      PanelTokens part = tokens_from(token, std::min(most, tokens_ - token));
      for (; part.first < inner; part.first += work_.panel->depth) {
        for_panels([&](int i, std::int64_t row, std::byte* panel) {
          if (gates() && whole) return multiply_and_gate(row, part, token, panel);
          multiply_panel(product(i), row, part, token, panel);
          if (gates()) multiply_panel(product(1), row, part, token, panel);
        });
      }
    }
    if (!gates() || whole) return;
    pool_.parallel_for(tokens_, 1, [&](std::int64_t begin, std::int64_t end) {
      gate(begin, end - begin, 0, product(0).weight.shape[0]);
    });
  }
  PanelTokens tokens_from(std::int64_t token, std::int64_t count) const {
    if (!work_.copies())
      return {call_.x.row<const std::byte>(token), call_.x.strides[0], count, work_.inner, 0};
    return {workspace_ + work_.activation_bytes(token),
            static_cast<std::int64_t>(work_.activation_bytes(1)), count, work_.inner, 0};
  }

  // Calls f(product, first row, memory for a panel) for all panels; each thread claims them until none are left.
  template <class F>
  void for_panels(F f) {
    const std::int64_t rows = work_.panel->rows;
    const auto panels_of = [&](const Product& one) {
      return (one.weight.shape[0] + rows - 1) / rows;
    };
    std::int64_t all = 0;
    for (int i = 0; i < counted(); ++i) all += panels_of(product(i));
    const std::size_t bytes = thread_bytes(call_, simd_, tokens_);
    std::byte* const panels = workspace_ + work_.activation_bytes(tokens_);
    std::atomic<std::int64_t> next = 0;
    pool_.parallel_for(pool_.threads(), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t thread = begin; thread < end; ++thread) {
        for (;;) {
          const std::int64_t claimed = next.fetch_add(1, std::memory_order_relaxed);
          if (claimed >= all) break;
          for_parts(claimed, claimed + 1, panels_of, [&](int i, std::int64_t at, std::int64_t) {
            f(i, at * rows, panels + static_cast<std::size_t>(thread) * bytes);
          });
        }
      }
    });
  }

  // The products of tokens, from `token` on, with a part of a panel's weight rows, from x.first on.
  void multiply_panel(const Product& one, std::int64_t row, const PanelTokens& x,
                      std::int64_t token, std::byte* panel) const {
    const std::int64_t stride = one.out.strides[0] / static_cast<std::int64_t>(sizeof(float));
    const std::int64_t count = pack(one, row, x, panel);
    multiply(one, panel, x,
             {one.out.row<float>(token) + row, stride, count, x.first > 0 || call_.adds});
  }
  // Of both products whole rows, and their gate. Results of some tokens are put side by side meanwhile: rows of the
  // outputs, whose distance is a multiple of 4 KiB for most widths, would push each other out of the caches.
  void multiply_and_gate(std::int64_t row, const PanelTokens& x, std::int64_t token,
                         std::byte* memory) const {
    const PanelKernel& kernel = *work_.panel;
    std::byte* const panels[2] = {memory, memory + panel_bytes(call_, simd_, tokens_)};
    auto* const results = reinterpret_cast<float*>(panels[1] + (panels[1] - panels[0]));
    std::int64_t count = 0;
    for (int i = 0; i < 2; ++i) count = pack(product(i), row, x, panels[i]);
    for (std::int64_t done = 0; done < x.count; done += kGatedTokens) {
      const PanelTokens some = tokens_from(token + done, std::min(kGatedTokens, x.count - done));
      for (int i = 0; i < 2; ++i) {
        multiply(product(i), panels[i], some,
                 {results + i * kGatedTokens * kernel.rows, kernel.rows, count, false});
      }
      for (std::int64_t t = 0; t < some.count; ++t) {
        const float* gate = results + t * kernel.rows;
        simd_.silu_mul(count, gate, gate + kGatedTokens * kernel.rows,
                       call_.gated.row<float>(token + done + t) + row);
      }
    }
  }
  std::int64_t pack(const Product& one, std::int64_t row, const PanelTokens& x,
                    std::byte* panel) const {
    const PanelKernel& kernel = simd_.panel(one.weight.dtype, tokens_);
    const std::int64_t count = std::min(kernel.rows, one.weight.shape[0] - row);
    kernel.pack({one.weight.row<const std::byte>(row) + dtype_bytes(one.weight.dtype, x.first),
                 one.weight.strides[0], count},
                std::min(kernel.depth, x.inner - x.first), panel);
    return count;
  }
  void multiply(const Product& one, const std::byte* panel, const PanelTokens& x,
                const PanelOutput& out) const {
    const PanelKernel& kernel = simd_.panel(one.weight.dtype, tokens_);
    kernel.multiply(std::min(kernel.depth, x.inner - x.first), panel, x, out);
  }

  // In fours of rows, which some kernels take at once.
  void run_dots() {
    const auto fours = [](const Product& one) { return (one.weight.shape[0] + 3) / 4; };
    std::int64_t all = 0;
    for (int i = 0; i < counted(); ++i) all += fours(product(i));
    pool_.parallel_for(all, claim(all), [&](std::int64_t first, std::int64_t last) {
      for_parts(first, last, fours, [&](int i, std::int64_t from, std::int64_t to) {
        const std::int64_t begin = 4 * from, end = std::min(4 * to, product(i).weight.shape[0]);
        dots(product(i), begin, end);
        if (!gates()) return;
        dots(product(1), begin, end);
        gate(0, tokens_, begin, end);
      });
    });
  }

  // Fours of rows that a thread claims at a time. What is asked for ahead of a claim's end is another thread's, and read
  // twice: claims of 128 KiB keep that to a sixteenth.
  std::int64_t claim(std::int64_t fours) const {
    constexpr std::int64_t kClaim = 128 * 1024;
    const std::int64_t bytes = 4 * product(0).weight.strides[0];
    if (tokens_ >= 4) return row_grain(bytes * tokens_);
    const std::int64_t share = fours / pool_.threads();
    return std::clamp<std::int64_t>(kClaim / bytes, 1, std::max<std::int64_t>(share, 1));
  }

  void dots(const Product& one, std::int64_t begin, std::int64_t end) const {
    if (work_.quantizes) {
      dots(one, begin, end, simd_.quantized_dot(one.weight.dtype),
           [&](std::int64_t t) { return activation(t); });
    } else {
      dots(one, begin, end, simd_.float_row(one.weight.dtype),
           [&](std::int64_t t) { return call_.x.row<const float>(t); });
    }
  }

  // Products of all tokens with weight rows [begin, end). `column(t)` is what the dot products take for token t.
  template <class Kernel, class Column>
  void dots(const Product& one, std::int64_t begin, std::int64_t end, const Kernel& kernel,
            Column column) const {
    const TensorView& weight = one.weight;
    const std::int64_t inner = work_.inner;
    const std::int64_t tile = std::max<std::int64_t>(kTileBytes / weight.strides[0] / 4 * 4, 4);
    const auto put = [&](std::int64_t t, std::int64_t n, float sum) {
      float& to = one.out.row<float>(t)[n];
      to = call_.adds ? to + sum : sum;
    };
    using Columns = std::array<decltype(column(0)), 4>;
    for (std::int64_t first = begin; first < end; first += tile) {
      const std::int64_t last = std::min(first + tile, end);
      float sums[4];
      std::int64_t t = 0;
      for (; t + 4 <= tokens_; t += 4) {
        const Columns columns = {column(t), column(t + 1), column(t + 2), column(t + 3)};
        for (std::int64_t n = first; n < last; ++n) {
          kernel.dot4(inner, weight.row<const std::byte>(n), columns.data(), sums);
          for (std::int64_t i = 0; i < 4; ++i) put(t + i, n, sums[i]);
        }
      }
      for (; t < tokens_; ++t) {
        std::int64_t n = first;
        if constexpr (requires { kernel.rows4; }) {
          for (; n + 4 <= last; n += 4) {
            kernel.rows4(inner, weight.row<const std::byte>(n), weight.strides[0], column(t), sums);
            for (std::int64_t i = 0; i < 4; ++i) put(t, n + i, sums[i]);
          }
        }
        for (; n < last; ++n)
          put(t, n, kernel.dot(inner, weight.row<const std::byte>(n), column(t)));
      }
    }
  }

  const Products& call_;
  ThreadPool& pool_;
  const SimdKernels& simd_;
  std::byte* workspace_;
  std::int64_t tokens_;
  Work work_;
};

}  // namespace

bool products_copy(const TensorView& weight) { return dtype_info(weight.dtype).quantized; }

bool products_fit(const SimdKernels& simd, const TensorView& a, const TensorView& b) {
  if (products_copy(a) != products_copy(b) || a.shape[1] != b.shape[1]) return false;
  // With any number of tokens.
  for (const std::int64_t tokens : {simd.panel_tokens - 1, kAnyTokens}) {
    const PanelKernel &one = simd.panel(a.dtype, tokens), &other = simd.panel(b.dtype, tokens);
    if (one.rows != other.rows || one.depth != other.depth || one.tokens != other.tokens ||
        one.activations != other.activations)
      return false;
  }
  return true;
}

// Rows of a compact x may be few when it comes to it: too few for tiles, or for any panel, and then be quantized.
std::size_t products_bytes(const Products& call, const ThreadPool& pool, const SimdKernels& simd) {
  std::size_t most = 0;
  for (const std::int64_t limit : {kAnyTokens, simd.panel_tokens - 1, kPanelTokens - 1}) {
    const std::int64_t few = std::clamp(limit, std::int64_t{0}, call.x.shape[0]);
    const Work work = work_of(simd, call.each[0].weight, few);
    const std::size_t panels =
        work.panel ? thread_bytes(call, simd, few) * static_cast<std::size_t>(pool.threads()) : 0;
    most = std::max(most, work.activation_bytes(few) + panels);
  }
  return most;
}

void run_products(const Products& call, ThreadPool& pool, const SimdKernels& simd,
                  std::byte* workspace) {
  const std::int64_t tokens = active_rows(call.rows, call.x.shape[0]);
  if (tokens > 0) Multiplication(call, pool, simd, workspace, tokens).run();
}

}  // namespace l2a::cpu
