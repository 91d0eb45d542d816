#include "convert/model_metadata.h"

#include <cmath>
#include <string>

#include "convert/tensor_plan.h"
#include "graph/error.h"

namespace l2a {
namespace {

constexpr std::uint32_t kQuantizationVersion =
    2;  // of the block layouts; general.quantization_version

// general.file_type: the specification's numbers for "all F32", "mostly F16" and so on.
std::uint32_t file_type(Dtype type) {
  switch (type) {
    case Dtype::f32:
      return 0;
    case Dtype::f16:
      return 1;
    case Dtype::q8_0:
      return 7;
    case Dtype::bf16:
      return 32;
    default:
      throw Error(concat("a GGUF file of ", dtype_name(type), " cannot be written"));
  }
}

void write_rope(GgufWriter& writer, const std::string& arch, const RopeConfig& rope) {
  writer.set_f32(arch + ".rope.freq_base", static_cast<float>(rope.theta));
  if (rope.scaling == RopeConfig::Scaling::none) {
    return;
  }
  const std::string key = arch + ".rope.scaling.";
  const bool yarn = rope.scaling == RopeConfig::Scaling::yarn;
  writer.set_string(key + "type", yarn ? "yarn" : "linear");
  writer.set_f32(key + "factor", static_cast<float>(rope.factor));
  if (!yarn) {
    return;
  }
  writer.set_u32(key + "original_context_length",
                 static_cast<std::uint32_t>(rope.original_positions));
  if (rope.beta_fast) {
    writer.set_f32(key + "yarn_beta_fast", static_cast<float>(*rope.beta_fast));
  }
  if (rope.beta_slow) {
    writer.set_f32(key + "yarn_beta_slow", static_cast<float>(*rope.beta_slow));
  }
  if (rope.attention_factor) {
    // In GGUF it multiplies the usual 0.1 ln(s) + 1; in a checkpoint it replaces it.
    const double usual = 0.1 * std::log(rope.factor) + 1.0;
    writer.set_f32(key + "attn_factor", static_cast<float>(*rope.attention_factor / usual));
  }
}

void write_l2a(GgufWriter& writer, const std::string& arch, const HfL2aConfig& l2a) {
  writer.set_u32(arch + ".attention.sliding_window",
                 static_cast<std::uint32_t>(l2a.sliding_window));
  writer.set_f32(arch + ".l2a.router.temperature", static_cast<float>(l2a.temperature));
  writer.set_f32(arch + ".l2a.router.threshold", static_cast<float>(l2a.threshold));
  std::vector<bool> global_layers = l2a.pruned;
  global_layers.flip();
  writer.set_array(arch + ".l2a.global_layers", global_layers);
  writer.set_string(arch + ".l2a.mode", l2a.mode == HfL2aConfig::Mode::add ? "add" : "widen");
  writer.set_u32(arch + ".l2a.sinks", static_cast<std::uint32_t>(l2a.sinks));
}

}  // namespace

void write_model_metadata(GgufWriter& writer, const HfConfig& config, std::string_view name,
                          Dtype type) {
  const std::string arch = gguf_architecture(config);
  const auto size = [&](const char* key, std::int64_t value) {
    writer.set_u32(arch + key, static_cast<std::uint32_t>(value));
  };
  writer.set_string("general.architecture", arch);
  writer.set_string("general.type", "model");
  writer.set_string("general.name", name);
  writer.set_u32("general.file_type", file_type(type));
  writer.set_u32("general.quantization_version", kQuantizationVersion);
  size(".context_length", config.max_positions);
  size(".embedding_length", config.hidden_size);
  size(".block_count", config.layers);
  size(".feed_forward_length", config.intermediate_size);
  size(".attention.head_count", config.heads);
  size(".attention.head_count_kv", config.kv_heads);
  size(".attention.key_length", config.head_dim);
  size(".attention.value_length", config.head_dim);
  writer.set_f32(arch + ".attention.layer_norm_rms_epsilon",
                 static_cast<float>(config.rms_norm_eps));
  if (config.family == ModelFamily::llama) {
    size(".rope.dimension_count", config.head_dim);
    size(".vocab_size", config.vocab_size);
  }
  write_rope(writer, arch, config.rope);
  if (config.l2a) {
    write_l2a(writer, arch, *config.l2a);
  }
}

void write_tokenizer_metadata(GgufWriter& writer, const TokenizerData* tokenizer) {
  if (tokenizer == nullptr) {
    writer.set_string("tokenizer.ggml.model", "no_vocab");
    return;
  }
  writer.set_string("tokenizer.ggml.model", "gpt2");
  writer.set_string("tokenizer.ggml.pre", tokenizer->pre);
  writer.set_array("tokenizer.ggml.tokens", std::span<const std::string>(tokenizer->tokens));
  std::vector<std::int32_t> kinds;
  kinds.reserve(tokenizer->kinds.size());
  for (const TokenizerData::Kind kind : tokenizer->kinds) {
    kinds.push_back(static_cast<std::int32_t>(kind));
  }
  writer.set_array("tokenizer.ggml.token_type", std::span<const std::int32_t>(kinds));
  writer.set_array("tokenizer.ggml.merges", std::span<const std::string>(tokenizer->merges));
  const auto id = [&](const char* key, const std::optional<Token>& token) {
    if (token) {
      writer.set_u32(key, static_cast<std::uint32_t>(*token));
    }
  };
  id("tokenizer.ggml.bos_token_id", tokenizer->bos);
  id("tokenizer.ggml.eos_token_id", tokenizer->eos);
  id("tokenizer.ggml.padding_token_id", tokenizer->padding);
  writer.set_bool("tokenizer.ggml.add_bos_token", tokenizer->add_bos);
  if (!tokenizer->chat_template.empty()) {
    writer.set_string("tokenizer.chat_template", tokenizer->chat_template);
  }
}

}  // namespace l2a
