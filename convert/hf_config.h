// What config.json (and generation_config.json) of a Hugging Face checkpoint say, checked.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>

#include "models/model_config.h"

namespace l2a {

// What a router reads of the normed hidden state. Each is a row of weights: a projection has learned it, the others
// are [1, 0, 0, ...] and [1/E, 1/E, ...].
enum class RouterForm : std::uint8_t { projection, first_dimension, mean };

// A checkpoint's model, and what only its folder says.
struct HfConfig {
  ModelConfig model;    // `architecture` is the GGUF name; `name` is the folder's
  bool attention_bias;  // Q, K, V (always in Qwen2)
  bool output_bias;     // the attention's output projection
  bool tied_embeddings;
  RouterForm router_form = RouterForm::projection;
  // Of a checkpoint whose matrices are F8_E4M3 with scales: rows and columns that share one, where it says so.
  bool scaled_float8 = false;
  std::optional<std::array<std::int64_t, 2>> scale_block;
  std::optional<std::int64_t> bos_id, eos_id, padding_id;

  // Reads the two files of `folder`; generation_config.json may be absent. Throws FileError naming
  // the file, the field and what was expected, also for what is valid but not supported.
  static HfConfig read(const std::filesystem::path& folder);
};

}  // namespace l2a
