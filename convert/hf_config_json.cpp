#include "convert/hf_config_json.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

#include "convert/hf_architecture.h"

namespace l2a {
namespace {

using Json = nlohmann::ordered_json;

// Of the decimals that `same` takes for `value`, the shortest.
template <class Same>
double shortest(double value, Same same) {
  for (int digits = 0; digits < 16; ++digits) {
    std::array<char, 32> text{};
    const auto end = std::to_chars(text.data(), text.data() + text.size(), value,
                                   std::chars_format::scientific, digits)
                         .ptr;
    double rounded = 0;
    std::from_chars(text.data(), end, rounded);
    if (same(rounded)) return rounded;
  }
  return value;
}

double shortest_float(double value) {
  return shortest(value, [value](double other) {
    return static_cast<float>(other) == static_cast<float>(value);
  });
}

Json rope_json(const RopeScaling& scaling) {
  if (scaling.kind == RopeScaling::Kind::none) return {{"rope_type", "default"}};
  const bool yarn = scaling.kind == RopeScaling::Kind::yarn;
  Json json = {{"rope_type", yarn ? "yarn" : "linear"}, {"factor", shortest_float(scaling.factor)}};
  if (!yarn) return json;
  json["original_max_position_embeddings"] = std::llround(scaling.original_context);
  json["beta_fast"] = shortest_float(scaling.beta_fast);
  json["beta_slow"] = shortest_float(scaling.beta_slow);
  // GGUF holds it relative to the usual factor, as f32; the usual one is left out.
  const double usual = 0.1 * std::log(scaling.factor) + 1.0;
  const auto relative = [usual](double factor) { return static_cast<float>(factor / usual); };
  if (const auto factor = scaling.attention_factor; factor && relative(*factor) != 1.0f) {
    json["attention_factor"] =
        shortest(*factor, [&](double other) { return relative(other) == relative(*factor); });
  }
  return json;
}

// Both under the newer name and under the older two: readers know either.
void add_rope(Json& json, const ModelConfig& model) {
  Json rope = rope_json(model.rope_scaling);
  json["rope_theta"] = shortest_float(model.rope_base);
  json["rope_scaling"] = model.rope_scaling.kind == RopeScaling::Kind::none ? Json() : rope;
  rope["rope_theta"] = json["rope_theta"];
  json["rope_parameters"] = std::move(rope);
}

void add_l2a(Json& json, const L2aConfig& l2a) {
  json["sliding_window"] = l2a.window;
  json["sigmoid_temp"] = shortest_float(l2a.temperature);
  json["sigmoid_threshold"] = shortest_float(l2a.threshold);
  json["sigmoid_linear"] = true;
  json["sig_input_type"] = "hidden_linearproj";
  if (l2a.mode == L2aMode::widen) {
    json["l2a_mode"] = "widen";
    json["l2a_sinks"] = l2a.sinks;
  }
  const auto set_fitted = [&](const char* key, const std::vector<double>& values) {
    if (values.empty()) return;
    Json& list = json[key] = Json::array();
    for (const double value : values) list.push_back(shortest_float(value));
  };
  set_fitted("l2a_skip_logits", l2a.skip_logits);
  set_fitted("l2a_need_scales", l2a.need_scales);
  Json pruned = Json::array();
  for (std::size_t layer = 0; layer < l2a.global_layers.size(); ++layer) {
    if (!l2a.global_layers[layer]) pruned.push_back(layer);
  }
  if (!pruned.empty()) json["l2a_pruned_layers"] = std::move(pruned);
}

void add_id(Json& json, const char* name, const std::optional<std::int64_t>& id) {
  if (id) json[name] = *id;
}

}  // namespace

Json hf_config_json(const HfConfig& config, std::string_view torch_dtype) {
  const ModelConfig& model = config.model;
  const auto* architecture =
      std::find_if(kHfArchitectures.begin(), kHfArchitectures.end(),
                   [&](const HfArchitecture& known) { return known.gguf == model.architecture; });
  Json json = {{"architectures", Json::array({architecture->name})},
               {"model_type", architecture->model_type},
               {"vocab_size", model.vocabulary},
               {"hidden_size", model.hidden},
               {"intermediate_size", model.feed_forward},
               {"num_hidden_layers", model.layers},
               {"num_attention_heads", model.heads},
               {"num_key_value_heads", model.kv_heads},
               {"head_dim", model.head_dim},
               {"hidden_act", "silu"},
               {"max_position_embeddings", model.context},
               {"rms_norm_eps", shortest_float(model.norm_eps)},
               {"tie_word_embeddings", config.tied_embeddings}};
  add_rope(json, model);
  if (model.family != Family::qwen2) json["attention_bias"] = config.attention_bias;
  if (model.family == Family::llama) {
    json["mlp_bias"] = false;
  } else {
    json["use_sliding_window"] = false;
  }
  if (model.l2a) add_l2a(json, *model.l2a);
  add_id(json, "bos_token_id", config.bos_id);
  add_id(json, "eos_token_id", config.eos_id);
  add_id(json, "pad_token_id", config.padding_id);
  json["torch_dtype"] = torch_dtype;
  return json;
}

Json hf_generation_json(const TokenizerData& tokenizer) {
  Json json;
  add_id(json, "bos_token_id", tokenizer.bos);
  // The reader here takes the first; a turn's end that is another token is a second one.
  if (tokenizer.eos && tokenizer.eot && *tokenizer.eot != *tokenizer.eos) {
    json["eos_token_id"] = Json::array({*tokenizer.eos, *tokenizer.eot});
  } else {
    add_id(json, "eos_token_id", tokenizer.eos ? tokenizer.eos : tokenizer.eot);
  }
  add_id(json, "pad_token_id", tokenizer.padding);
  return json;
}

}  // namespace l2a
