#include "convert/model_metadata.h"

#include <cmath>
#include <string>

#include "graph/error.h"

namespace l2a {
namespace {

// Of the block layouts; general.quantization_version.
constexpr std::uint32_t kQuantizationVersion = 2;

void set_rope(GgufMetadata& metadata, const ModelConfig& config) {
  const std::string& arch = config.architecture;
  const RopeScaling& rope = config.rope_scaling;
  metadata.set_f32(arch + ".rope.freq_base", static_cast<float>(config.rope_base));
  if (rope.kind == RopeScaling::Kind::none) {
    return;
  }
  const std::string key = arch + ".rope.scaling.";
  const bool yarn = rope.kind == RopeScaling::Kind::yarn;
  metadata.set_string(key + "type", yarn ? "yarn" : "linear");
  metadata.set_f32(key + "factor", static_cast<float>(rope.factor));
  if (!yarn) {
    return;
  }
  metadata.set_u32(key + "original_context_length",
                   static_cast<std::uint32_t>(rope.original_context));
  metadata.set_f32(key + "yarn_beta_fast", static_cast<float>(rope.beta_fast));
  metadata.set_f32(key + "yarn_beta_slow", static_cast<float>(rope.beta_slow));
  if (rope.attention_factor) {
    // In GGUF it multiplies the usual 0.1 ln(s) + 1; in a checkpoint it replaces it.
    const double usual = 0.1 * std::log(rope.factor) + 1.0;
    metadata.set_f32(key + "attn_factor", static_cast<float>(*rope.attention_factor / usual));
  }
}

}  // namespace

void set_model_metadata(GgufMetadata& metadata, const ModelConfig& config) {
  const std::string& arch = config.architecture;
  const auto size = [&](const char* key, std::int64_t value) {
    metadata.set_u32(arch + key, static_cast<std::uint32_t>(value));
  };
  metadata.set_string("general.architecture", arch);
  metadata.set_string("general.type", "model");
  metadata.set_string("general.name", config.name);
  metadata.set_u32("general.quantization_version", kQuantizationVersion);
  size(".context_length", config.context);
  size(".embedding_length", config.hidden);
  size(".block_count", config.layers);
  size(".feed_forward_length", config.feed_forward);
  size(".attention.head_count", config.heads);
  size(".attention.head_count_kv", config.kv_heads);
  size(".attention.key_length", config.head_dim);
  size(".attention.value_length", config.head_dim);
  metadata.set_f32(arch + ".attention.layer_norm_rms_epsilon", config.norm_eps);
  if (config.family == Family::llama) {
    size(".rope.dimension_count", config.head_dim);
    size(".vocab_size", config.vocabulary);
  }
  set_rope(metadata, config);
  if (config.l2a) {
    set_l2a_metadata(metadata, config);
  }
}

void set_l2a_metadata(GgufMetadata& metadata, const ModelConfig& config) {
  const std::string& arch = config.architecture;
  const L2aConfig& l2a = *config.l2a;
  metadata.set_u32(arch + ".attention.sliding_window", static_cast<std::uint32_t>(l2a.window));
  metadata.set_f32(arch + ".l2a.router.temperature", static_cast<float>(l2a.temperature));
  metadata.set_f32(arch + ".l2a.router.threshold", static_cast<float>(l2a.threshold));
  metadata.set_array(arch + ".l2a.global_layers", l2a.global_layers);
  metadata.set_string(arch + ".l2a.mode", l2a.mode == L2aMode::add ? "add" : "widen");
  metadata.set_u32(arch + ".l2a.sinks", static_cast<std::uint32_t>(l2a.sinks));
  const auto set_fitted = [&](const char* key, const std::vector<double>& values) {
    if (values.empty()) return;
    const std::vector<float> floats(values.begin(), values.end());
    metadata.set_array(arch + key, std::span<const float>(floats));
  };
  set_fitted(".l2a.router.skip_logits", l2a.skip_logits);
  set_fitted(".l2a.router.need_scales", l2a.need_scales);
}

void set_tokenizer_metadata(GgufMetadata& metadata, const TokenizerData* tokenizer) {
  if (tokenizer == nullptr) {
    metadata.set_string("tokenizer.ggml.model", "no_vocab");
    return;
  }
  metadata.set_string("tokenizer.ggml.model", "gpt2");
  metadata.set_string("tokenizer.ggml.pre", tokenizer->pre);
  metadata.set_array("tokenizer.ggml.tokens", std::span<const std::string>(tokenizer->tokens));
  std::vector<std::int32_t> kinds;
  kinds.reserve(tokenizer->kinds.size());
  for (const TokenizerData::Kind kind : tokenizer->kinds) {
    kinds.push_back(static_cast<std::int32_t>(kind));
  }
  metadata.set_array("tokenizer.ggml.token_type", std::span<const std::int32_t>(kinds));
  metadata.set_array("tokenizer.ggml.merges", std::span<const std::string>(tokenizer->merges));
  const auto id = [&](const char* key, const std::optional<Token>& token) {
    if (token) {
      metadata.set_u32(key, static_cast<std::uint32_t>(*token));
    }
  };
  id("tokenizer.ggml.bos_token_id", tokenizer->bos);
  id("tokenizer.ggml.eos_token_id", tokenizer->eos);
  id("tokenizer.ggml.padding_token_id", tokenizer->padding);
  metadata.set_bool("tokenizer.ggml.add_bos_token", tokenizer->add_bos);
  if (!tokenizer->chat_template.empty()) {
    metadata.set_string("tokenizer.chat_template", tokenizer->chat_template);
  }
}

}  // namespace l2a
