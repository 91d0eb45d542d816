// The tensors of a model: their names in a Hugging Face checkpoint and in GGUF, and their shapes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "convert/hf_config.h"

namespace l2a {

struct PlannedTensor {
  std::string source;               // "model.layers.0.self_attn.q_proj.weight"
  std::string target;               // "blk.0.attn_q.weight"
  std::vector<std::int64_t> shape;  // outermost first, the same on both sides
  // Heads whose rows are reordered for interleaved RoPE, 0 for none. Checkpoints pair row i of a
  // head with row i + D/2; `llama` files pair rows 2i and 2i + 1.
  std::int64_t interleaved_heads = 0;
  bool always_f32 = false;
  bool optional = false;  // left out when the checkpoint has none
  // Its values where they follow from the configuration: the checkpoint is not read for them.
  std::vector<float> constant{};
};

// Of a tensor with interleaved heads, the row of the checkpoint that is row `row` in GGUF, and the other way round.
std::int64_t rotated_half_row(const PlannedTensor& planned, std::int64_t row);
std::int64_t interleaved_row(const PlannedTensor& planned, std::int64_t row);

// In the order in which they are written.
std::vector<PlannedTensor> plan_tensors(const HfConfig& config);

}  // namespace l2a
