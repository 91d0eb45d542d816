#include "ops/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/check.h"

namespace l2a {
namespace {

// How far each dimension is interpolated: 0 for those that turn often within the trained context, 1
// for those that never complete a turn, a ramp between (arXiv 2309.00071, section 3.2, with HF's
// rounding of the bounds).
double yarn_ramp(std::int64_t pair, std::int64_t head_dim, double base,
                 const RopeScaling& scaling) {
  auto dimension_of_turns = [&](double turns) {
    return static_cast<double>(head_dim) *
           std::log(scaling.original_context / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(base));
  };
  const double low = std::max(std::floor(dimension_of_turns(scaling.beta_fast)), 0.0);
  const double high =
      std::min(std::ceil(dimension_of_turns(scaling.beta_slow)), static_cast<double>(head_dim) - 1);
  return std::clamp((static_cast<double>(pair) - low) / std::max(high - low, 0.001), 0.0, 1.0);
}

}  // namespace

RopeFrequencies rope_frequencies(std::int64_t head_dim, double base, const RopeScaling& scaling) {
  if (head_dim < 2 || head_dim % 2 != 0)
    throw Error(concat("RoPE needs an even head size, not ", head_dim));
  if (!(base > 1) || !std::isfinite(base))
    throw Error(concat("RoPE needs a base above 1, not ", base));
  if (!(scaling.factor >= 1) || !std::isfinite(scaling.factor)) {
    throw Error(concat("a RoPE scaling factor is at least 1, not ", scaling.factor));
  }
  const bool yarn = scaling.kind == RopeScaling::Kind::yarn;
  if (yarn && !(scaling.original_context >= 1))
    throw Error("YaRN needs the original context length");
  if (yarn && !(scaling.beta_fast > 0 && scaling.beta_slow > 0))
    throw Error("YaRN needs positive betas");

  RopeFrequencies result;
  for (std::int64_t pair = 0; pair < head_dim / 2; ++pair) {
    const double plain =
        std::pow(base, -2.0 * static_cast<double>(pair) / static_cast<double>(head_dim));
    double frequency = plain;
    if (scaling.kind == RopeScaling::Kind::linear) frequency = plain / scaling.factor;
    if (yarn) {
      const double ramp = yarn_ramp(pair, head_dim, base, scaling);
      frequency = plain / scaling.factor * ramp + plain * (1 - ramp);
    }
    result.inverse.push_back(static_cast<float>(frequency));
  }
  if (yarn) {
    const double by_default = scaling.factor > 1 ? 0.1 * std::log(scaling.factor) + 1 : 1.0;
    result.table_factor = static_cast<float>(scaling.attention_factor.value_or(by_default));
  }
  return result;
}

OutputInfo RopeTable::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &positions = inputs[kPositions], &frequencies = inputs[kFrequencies];
  require_rank(positions, 1, "the positions");
  require(positions.dtype == Dtype::i32 && !positions.is_rows, "the positions must be i32");
  require_f32(frequencies, "the frequencies");
  require_rank(frequencies, 1, "the frequencies");
  return {Dtype::f32, {positions.shape[0], frequencies.shape[0], 2}};
}

void RopeTable::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const float* frequencies = inputs[kFrequencies].row<const float>(0);
  for (std::int64_t t = 0; t < output.shape[0]; ++t) {
    const double position = *inputs[kPositions].row<const std::int32_t>(t);
    for (std::int64_t i = 0; i < output.shape[1]; ++i) {
      const double angle = position * static_cast<double>(frequencies[i]);
      output.row<float>(t, i)[0] = static_cast<float>(std::cos(angle)) * factor;
      output.row<float>(t, i)[1] = static_cast<float>(std::sin(angle)) * factor;
    }
  }
}

OutputInfo Rope::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &x = inputs[kX], &table = inputs[kTable];
  require_f32(x, "the input");
  require_rank(x, 3, "the input");
  require_f32(table, "the table");
  require_rank(table, 3, "the table");
  require(!table.compact(), "the table has a row for every token");
  require(x.shape[0] == table.shape[0], "the table must have a row for every token");
  require(x.shape[2] == 2 * table.shape[1],
          "the head size must be twice the number of frequencies");
  require_rows_of(x, inputs[kRows]);
  return {Dtype::f32, x.shape, x.rows};
}

Cost Rope::cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
                const CostHints& hints) const {
  Cost cost = Op::cost(inputs, output, hints);
  cost.operations = operand_bytes(output, hints) / 4 * 3;  // four products and two sums a pair
  return cost;
}

void Rope::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView &x = inputs[kX], &table = inputs[kTable], &rows = inputs[kRows];
  const std::int64_t pairs = table.shape[1];
  const bool half = pairing == RopePairing::half;
  const std::int64_t step = half ? 1 : 2, apart = half ? pairs : 1;
  for (std::int64_t i = 0; i < active_rows(rows, x.shape[0]); ++i) {
    const std::int64_t token = token_of_row(rows, i);
    for (std::int64_t h = 0; h < x.shape[1]; ++h) {
      const float* from = x.row<const float>(i, h);
      float* to = output.row<float>(i, h);
      for (std::int64_t p = 0; p < pairs; ++p) {
        const float cosine = table.row<const float>(token, p)[0],
                    sine = table.row<const float>(token, p)[1];
        const float a = from[p * step], b = from[p * step + apart];
        to[p * step] = a * cosine - b * sine;
        to[p * step + apart] = b * cosine + a * sine;
      }
    }
  }
}

Tensor rope_table(GraphBuilder& graph, Tensor positions, Tensor frequencies, float factor) {
  return graph.add(std::make_shared<RopeTable>(factor), {positions, frequencies});
}

Tensor rope(GraphBuilder& graph, Tensor x, Tensor table, RopePairing pairing) {
  return graph.add(std::make_shared<Rope>(pairing), {x, table, graph.rows_of(x)});
}

}  // namespace l2a
