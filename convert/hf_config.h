// What config.json (and generation_config.json) of a Hugging Face checkpoint say, checked.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace l2a {

enum class ModelFamily : std::uint8_t { qwen2, qwen3, llama };

struct RopeConfig {
  enum class Scaling : std::uint8_t { none, linear, yarn };

  double theta = 10000.0;
  Scaling scaling = Scaling::none;
  // The rest only where there is scaling.
  double factor = 1.0;
  std::int64_t original_positions = 0;         // yarn
  std::optional<double> beta_fast, beta_slow;  // yarn; 32 and 1 where absent
  std::optional<double> attention_factor;      // yarn; 0.1 ln(factor) + 1 where absent
};

struct HfL2aConfig {
  enum class Mode : std::uint8_t { add, widen };

  Mode mode = Mode::add;
  std::int64_t sliding_window = 0;  // keys visible, the token's own included
  std::int64_t sinks = 0;
  double temperature = 1.0;
  double threshold = 0.5;    // in (0, 1), also as a float
  std::vector<bool> pruned;  // one a layer
};

struct HfConfig {
  ModelFamily family;
  std::int64_t vocab_size;
  std::int64_t hidden_size;
  std::int64_t intermediate_size;
  std::int64_t layers;
  std::int64_t heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
  std::int64_t max_positions;
  double rms_norm_eps;
  bool attention_bias;  // Q, K, V (always in Qwen2)
  bool output_bias;     // the attention's output projection
  bool tied_embeddings;
  RopeConfig rope;
  std::optional<HfL2aConfig> l2a;  // nothing for a dense model
  std::optional<std::int64_t> bos_id, eos_id, padding_id;

  // Reads the two files of `folder`; generation_config.json may be absent. Throws FileError naming
  // the file, the field and what was expected, also for what is valid but not supported.
  static HfConfig read(const std::filesystem::path& folder);
};

}  // namespace l2a
