#include "convert/hf_config.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <string_view>

#include "convert/hf_architecture.h"
#include "convert/json_file.h"
#include "graph/error.h"
#include "models/quote.h"

namespace l2a {
namespace {

// Limits that no real model comes near; they keep every product of two sizes inside 64 bits.
constexpr std::int64_t kMaxExtent = std::int64_t{1} << 28;
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxPositions = std::numeric_limits<std::int32_t>::max();

const HfArchitecture& read_architecture(const JsonFields& fields) {
  const Json& names = fields.get("architectures");
  if (!names.is_array() || names.size() != 1 || !names[0].is_string()) {
    fields.fail("architectures", "a list of one name was expected");
  }
  const auto& name = names[0].get_ref<const std::string&>();
  for (const HfArchitecture& known : kHfArchitectures) {
    if (known.name == name) {
      return known;
    }
  }
  std::string supported;
  for (const HfArchitecture& known : kHfArchitectures) {
    supported += (supported.empty() ? "" : ", ") + std::string(known.name);
  }
  fields.fail("architectures",
              concat(quote(name), " is not supported; one of ", supported, " was expected"));
}

double positive(const JsonFields& fields, const std::string& name) {
  const double value = fields.number(name);
  if (!(value > 0.0) || !std::isfinite(static_cast<float>(value)) ||
      static_cast<float>(value) == 0.0f) {
    fields.fail(name, concat("is ", value, "; a positive number in a float's range was expected"));
  }
  return value;
}

std::optional<double> optional_positive(const JsonFields& fields, const std::string& name) {
  return fields.has(name) ? std::optional(positive(fields, name)) : std::nullopt;
}

void read_scaling(RopeScaling& scaling, const JsonFields& fields, std::int64_t max_positions) {
  const std::string type_field = fields.has("rope_type") ? "rope_type" : "type";
  const std::string type = fields.string(type_field, "default");
  if (type == "default") {
    return;
  }
  if (type != "linear" && type != "yarn") {
    fields.fail(type_field,
                concat(quote(type), " is not supported; default, linear or yarn was expected"));
  }
  scaling.factor = positive(fields, "factor");
  if (scaling.factor < 1.0) {
    fields.fail("factor", concat("is ", scaling.factor, "; at least 1 was expected"));
  }
  if (type == "linear") {
    scaling.kind = RopeScaling::Kind::linear;
    return;
  }
  scaling.kind = RopeScaling::Kind::yarn;
  for (const char* unsupported : {"mscale", "mscale_all_dim"}) {
    if (fields.has(unsupported)) {
      fields.fail(unsupported, "is not supported; attention_factor is");
    }
  }
  if (!fields.boolean("truncate", true)) {
    fields.fail("truncate", "false is not supported");
  }
  scaling.original_context = static_cast<double>(
      fields.integer("original_max_position_embeddings", 1, kMaxPositions, max_positions));
  scaling.beta_fast = optional_positive(fields, "beta_fast").value_or(scaling.beta_fast);
  scaling.beta_slow = optional_positive(fields, "beta_slow").value_or(scaling.beta_slow);
  scaling.attention_factor = optional_positive(fields, "attention_factor");
}

void refuse_partial_rotation(const JsonFields& fields) {
  if (fields.number("partial_rotary_factor", 1.0) != 1.0) {
    fields.fail("partial_rotary_factor", "only 1, rotation of whole heads, is supported");
  }
}

void read_rope(ModelConfig& model, const Json& root, const JsonFields& fields) {
  refuse_partial_rotation(fields);
  if (fields.has("rope_theta")) {
    model.rope_base = positive(fields, "rope_theta");
  }
  // rope_parameters is the newer name; where both are written they agree.
  for (const char* name : {"rope_parameters", "rope_scaling"}) {
    if (!fields.has(name)) {
      continue;
    }
    const Json& nested = root.at(name);
    if (!nested.is_object()) {
      fields.fail(name, concat("an object was expected, not ", nested.type_name()));
    }
    const JsonFields nested_fields(nested, fields.origin(), std::string(name) + ".");
    refuse_partial_rotation(nested_fields);
    if (nested_fields.has("rope_theta")) {
      model.rope_base = positive(nested_fields, "rope_theta");
    }
    read_scaling(model.rope_scaling, nested_fields, model.context);
    break;
  }
}

// Layers that keep their global branch: all that l2a_pruned_layers does not name.
std::vector<bool> read_global_layers(const JsonFields& fields, std::int64_t layers) {
  std::vector<bool> global_layers(static_cast<std::size_t>(layers), true);
  const Json* list = fields.find("l2a_pruned_layers");
  if (list == nullptr) {
    return global_layers;
  }
  if (!list->is_array()) {
    fields.fail("l2a_pruned_layers", "a list of layer indices was expected");
  }
  for (const Json& item : *list) {
    if (!item.is_number_unsigned() ||
        item.get<std::uint64_t>() >= static_cast<std::uint64_t>(layers)) {
      fields.fail("l2a_pruned_layers",
                  concat("layer indices from 0 to ", layers - 1, " were expected"));
    }
    const auto layer = item.get<std::size_t>();
    if (!global_layers[layer]) {
      fields.fail("l2a_pruned_layers", concat("names layer ", layer, " twice"));
    }
    global_layers[layer] = false;
  }
  return global_layers;
}

// A list of finite numbers as f32 holds them, of which `holds` is true; empty where the field is absent.
std::vector<double> read_floats(const JsonFields& fields, const char* field, const char* expected,
                                const std::function<bool(const std::vector<double>&)>& holds) {
  std::vector<double> values;
  const Json* list = fields.find(field);
  if (list == nullptr) return values;
  if (!list->is_array()) fields.fail(field, expected);
  for (const Json& entry : *list) {
    if (!entry.is_number() || !std::isfinite(entry.get<float>())) fields.fail(field, expected);
    values.push_back(static_cast<double>(entry.get<float>()));
  }
  if (!holds(values)) fields.fail(field, expected);
  return values;
}

L2aConfig read_l2a(const JsonFields& fields, std::int64_t layers) {
  L2aConfig l2a;
  const std::string mode = fields.string("l2a_mode", "add");
  if (mode != "add" && mode != "widen") {
    fields.fail("l2a_mode", concat("is ", quote(mode), "; 'add' or 'widen' was expected"));
  }
  l2a.mode = mode == "add" ? L2aMode::add : L2aMode::widen;
  l2a.window = fields.integer("sliding_window", 1, kMaxPositions);
  l2a.sinks = fields.integer("l2a_sinks", 0, kMaxPositions, 0);
  if (l2a.sinks != 0 && l2a.mode == L2aMode::add) {
    fields.fail("l2a_sinks", concat("is ", l2a.sinks, "; l2a_mode 'add' has no sinks"));
  }
  l2a.temperature = positive(fields, "sigmoid_temp");
  l2a.threshold = fields.number("sigmoid_threshold");
  const auto stored = static_cast<float>(l2a.threshold);
  if (!(stored > 0.0f && stored < 1.0f)) {
    fields.fail("sigmoid_threshold",
                concat("is ", l2a.threshold, "; a float between 0 and 1 was expected"));
  }
  l2a.global_layers = read_global_layers(fields, layers);
  l2a.skip_logits = read_floats(
      fields, "l2a_skip_logits", "two or more numbers were expected, ascending",
      [](const auto& logits) { return logits.size() >= 2 && std::ranges::is_sorted(logits); });
  l2a.need_scales = read_floats(fields, "l2a_need_scales", "a number for each layer was expected",
                                [&](const auto& scales) { return std::ssize(scales) == layers; });
  return l2a;
}

// As the paper's code decides: the first dimension whatever sigmoid_linear says, else the projection or the mean.
RouterForm read_router_form(const JsonFields& fields) {
  const std::string input = fields.string("sig_input_type", "hidden_linearproj");
  if (input == "hidden_firstdim") {
    return RouterForm::first_dimension;
  }
  if (input != "hidden_linearproj") {
    fields.fail(
        "sig_input_type",
        concat(quote(input), " is not supported; 'hidden_linearproj' and 'hidden_firstdim' are"));
  }
  return fields.boolean("sigmoid_linear", true) ? RouterForm::projection : RouterForm::mean;
}

// A dense model's layers all see everything here: a window that would hide a key is refused. Layers from
// max_window_layers on have the window; the fallbacks are those of the Hugging Face classes.
void refuse_sliding_window(const JsonFields& fields, const ModelConfig& model) {
  if (fields.boolean("use_sliding_window", false)) {
    const std::int64_t window = fields.integer("sliding_window", 0, kMaxPositions, 4096);
    const std::int64_t first = fields.integer("max_window_layers", 0, kMaxLayers, 28);
    if (window >= model.context) {
      return;
    }
    if (first < model.layers) {
      fields.fail("use_sliding_window",
                  concat("true is not supported in a dense model: layers ", first, " to ",
                         model.layers - 1, " would see ", window, " tokens of ", model.context));
    }
  }
  if (const Json* types = fields.find("layer_types"); types != nullptr && types->is_array()) {
    if (std::any_of(types->begin(), types->end(),
                    [](const Json& t) { return t != "full_attention"; })) {
      fields.fail("layer_types", "only 'full_attention' layers are supported in a dense model");
    }
  }
}

// Quantized checkpoints are refused but for F8_E4M3 weights with scales, which convert exactly.
void read_quantization(HfConfig& config, const JsonFields& fields) {
  const Json* object = fields.find("quantization_config");
  if (object == nullptr) {
    return;
  }
  if (!object->is_object()) {
    fields.fail("quantization_config", "an object was expected");
  }
  const JsonFields quantization(*object, fields.origin(), "quantization_config.");
  if (const std::string method = quantization.string("quant_method"); method != "fp8") {
    quantization.fail("quant_method", concat(quote(method),
                                             " is not supported; F32, F16, BF16 and 'fp8' "
                                             "checkpoints are"));
  }
  if (const std::string format = quantization.string("fmt", "e4m3"); format != "e4m3") {
    quantization.fail("fmt", concat(quote(format), " is not supported; 'e4m3' is"));
  }
  config.scaled_float8 = true;
  const Json* block = quantization.find("weight_block_size");
  if (block == nullptr) {
    return;
  }
  const auto is_extent = [](const Json& value) {
    return value.is_number_unsigned() && value.get<std::uint64_t>() >= 1 &&
           value.get<std::uint64_t>() <= static_cast<std::uint64_t>(kMaxExtent);
  };
  if (!block->is_array() || block->size() != 2 || !is_extent((*block)[0]) ||
      !is_extent((*block)[1])) {
    quantization.fail("weight_block_size", "a list of two positive sizes was expected");
  }
  config.scale_block = {(*block)[0].get<std::int64_t>(), (*block)[1].get<std::int64_t>()};
}

std::optional<std::int64_t> read_token_id(const JsonFields& fields, const std::string& name,
                                          std::int64_t vocab_size) {
  const Json* field = fields.find(name);
  if (field == nullptr || (field->is_array() && field->empty())) {
    return std::nullopt;
  }
  const Json& id = field->is_array() ? field->front() : *field;
  if (!id.is_number_unsigned() ||
      id.get<std::uint64_t>() >= static_cast<std::uint64_t>(vocab_size)) {
    fields.fail(name, concat("is ", id.dump(-1, ' ', true), "; a token id from 0 to ",
                             vocab_size - 1, " was expected"));
  }
  return id.get<std::int64_t>();
}

void read_token_ids(HfConfig& config, const JsonFields& fields) {
  const auto keep = [&](std::optional<std::int64_t>& id, const char* name) {
    if (!id) {
      id = read_token_id(fields, name, config.model.vocabulary);
    }
  };
  keep(config.bos_id, "bos_token_id");
  keep(config.eos_id, "eos_token_id");
  keep(config.padding_id, "pad_token_id");
}

}  // namespace

HfConfig HfConfig::read(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "config.json";
  const std::string origin = path.string();
  const Json root = read_json_object(path);
  const JsonFields fields(root, origin);
  const HfArchitecture& architecture = read_architecture(fields);

  HfConfig config{};
  read_quantization(config, fields);
  ModelConfig& model = config.model;
  model.architecture = architecture.gguf;
  model.name = std::filesystem::weakly_canonical(folder).filename().string();
  model.family = architecture.family;
  model.vocabulary = fields.integer("vocab_size", 1, kMaxExtent);
  model.hidden = fields.integer("hidden_size", 1, kMaxExtent);
  model.feed_forward = fields.integer("intermediate_size", 1, kMaxExtent);
  model.layers = fields.integer("num_hidden_layers", 1, kMaxLayers);
  model.heads = fields.integer("num_attention_heads", 1, kMaxExtent);
  model.kv_heads = fields.integer("num_key_value_heads", 1, model.heads, model.heads);
  if (model.heads % model.kv_heads != 0) {
    fields.fail("num_key_value_heads", concat("is ", model.kv_heads, "; a divisor of the ",
                                              model.heads, " attention heads was expected"));
  }
  if (!fields.has("head_dim") && model.hidden % model.heads != 0) {
    fields.fail("head_dim", concat("is missing, and hidden_size ", model.hidden,
                                   " is not a multiple of the ", model.heads, " attention heads"));
  }
  model.head_dim =
      fields.integer("head_dim", 1, kMaxExtent / model.heads, model.hidden / model.heads);
  if (model.head_dim % 2 != 0) {
    fields.fail("head_dim", concat("is ", model.head_dim, "; an even number was expected"));
  }
  model.context = fields.integer("max_position_embeddings", 1, kMaxPositions);
  model.norm_eps = static_cast<float>(positive(fields, "rms_norm_eps"));
  if (const std::string act = fields.string("hidden_act"); act != "silu") {
    fields.fail("hidden_act", concat(quote(act), " is not supported; 'silu' is"));
  }
  if (fields.boolean("mlp_bias", false)) {
    fields.fail("mlp_bias", "true is not supported");
  }
  const bool bias = fields.boolean("attention_bias", false);
  config.attention_bias = bias || model.family == Family::qwen2;
  config.output_bias = bias && model.family != Family::qwen2;
  config.tied_embeddings = fields.boolean("tie_word_embeddings", false);
  read_rope(model, root, fields);
  if (architecture.l2a) {
    model.l2a = read_l2a(fields, model.layers);
    config.router_form = read_router_form(fields);
  } else {
    refuse_sliding_window(fields, model);
  }

  // generation_config.json is what generation uses; config.json fills in.
  if (const auto generation = folder / "generation_config.json";
      std::filesystem::exists(generation)) {
    const Json generation_root = read_json_object(generation);
    read_token_ids(config, JsonFields(generation_root, generation.string()));
  }
  read_token_ids(config, fields);
  return config;
}

}  // namespace l2a
