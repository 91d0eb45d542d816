// Rotary position embedding (RoPE, arXiv 2104.09864) in two ops: `rope_table` computes the cosines
// and sines of a run's positions once, `rope` turns queries or keys of every layer by them.
//
// How positions are scaled beyond the trained context is all in the D/2 inverse frequencies and one
// factor on the table, both computed here on the host: backends know nothing of YaRN.
#pragma once

#include <optional>
#include <vector>

#include "graph/graph.h"

namespace l2a {

// Which elements of a head turn together.
enum class RopePairing : std::uint8_t {
  half,         // d with d + D/2: Qwen, and HF's rotate_half everywhere
  interleaved,  // 2d with 2d + 1: `llama` GGUF files, whose Q and K rows are permuted to fit
};

struct RopeScaling {
  enum class Kind : std::uint8_t { none, linear, yarn };
  Kind kind = Kind::none;
  double factor = 1;            // context extension
  double original_context = 0;  // yarn: trained context
  double beta_fast = 32, beta_slow = 1;
  // yarn: factor on cosines and sines; 0.1 ln(factor) + 1 where it is not given (arXiv 2309.00071,
  // section 3.4)
  std::optional<double> attention_factor;
};

struct RopeFrequencies {
  std::vector<float> inverse;  // [D/2], radians a position
  float table_factor = 1;
};

// Throws Error when `head_dim` is odd or a parameter is out of its range.
RopeFrequencies rope_frequencies(std::int64_t head_dim, double base, const RopeScaling& scaling);

struct RopeTable final : Op {
  static constexpr std::string_view kName = "rope_table";
  enum Input { kPositions, kFrequencies };

  explicit RopeTable(float table_factor) : factor(table_factor) {}
  const float factor;

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

struct Rope final : Op {
  static constexpr std::string_view kName = "rope";
  enum Input { kX, kTable, kRows };

  explicit Rope(RopePairing p) : pairing(p) {}
  const RopePairing pairing;

  std::string_view name() const override { return kName; }
  OutputInfo infer(std::span<const ValueInfo> inputs) const override;
  Aliasing aliasing() const override { return {Aliasing::Kind::in_place, kX}; }
  Cost cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
            const CostHints& hints) const override;
  void reference(std::span<const TensorView> inputs, const TensorView& output) const override;
};

// positions i32 [T], frequencies f32 [D/2] -> f32 [T, D/2, 2]: cosine and sine of each angle, times
// `factor`. Angles are reduced in double: at position 131071 a float product is off by 0.004
// radians.
Tensor rope_table(GraphBuilder& graph, Tensor positions, Tensor frequencies, float factor);

// x f32 [T, H, D], table of the T tokens -> the shape of x. Row i of a compact x is turned by its
// own token.
Tensor rope(GraphBuilder& graph, Tensor x, Tensor table, RopePairing pairing);

}  // namespace l2a
