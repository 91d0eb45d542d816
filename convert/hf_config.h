// What config.json (and generation_config.json) of a Hugging Face checkpoint say, checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "models/model_config.h"

namespace l2a {

// A checkpoint's model, and what only its folder says.
struct HfConfig {
  ModelConfig model;    // `architecture` is the GGUF name; `name` is the folder's
  bool attention_bias;  // Q, K, V (always in Qwen2)
  bool output_bias;     // the attention's output projection
  bool tied_embeddings;
  std::optional<std::int64_t> bos_id, eos_id, padding_id;

  // Reads the two files of `folder`; generation_config.json may be absent. Throws FileError naming
  // the file, the field and what was expected, also for what is valid but not supported.
  static HfConfig read(const std::filesystem::path& folder);
};

}  // namespace l2a
