#include "models/model_config.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "graph/error.h"
#include "models/gguf.h"

namespace l2a {
namespace {

// Bounds that no model comes near; they keep every product of two sizes inside 64 bits.
constexpr std::int64_t kMaxExtent = 1 << 24;
constexpr std::int64_t kMaxLayers = 4096;
constexpr std::int64_t kMaxContext = 1 << 28;

class ConfigReader {
 public:
  explicit ConfigReader(const GgufFile& file)
      : file_(file), architecture_(file.get_string("general.architecture")) {}

  ModelConfig read() {
    ModelConfig config;
    config.architecture = architecture_;
    if (const std::string* name = file_.find_string("general.name")) config.name = *name;
    std::string_view base = architecture_;
    const bool is_l2a = base.starts_with("l2a-");
    if (is_l2a) base.remove_prefix(4);
    if (base == "qwen2") {
      config.family = Family::qwen2;
    } else if (base == "qwen3") {
      config.family = Family::qwen3;
    } else if (base == "llama") {
      config.family = Family::llama;
    } else {
      fail("general.architecture", concat("is '", architecture_.substr(0, 64),
                                          "'; qwen2, qwen3, llama and their l2a- forms are known"));
    }
    read_sizes(config);
    read_rope(config);
    if (is_l2a) {
      config.l2a = read_l2a(config);
    } else if (file_.find_u64(key("attention.sliding_window")).value_or(0) != 0) {
      fail(key("attention.sliding_window"),
           "is set, but sliding windows in dense models are not supported");
    }
    return config;
  }

 private:
  std::string key(std::string_view suffix) const { return concat(architecture_, ".", suffix); }

  [[noreturn]] void fail(const std::string& name, const std::string& why) const {
    throw FileError(concat(file_.path().string(), ": ", name, " ", why));
  }

  std::int64_t bounded(const std::string& name, std::uint64_t value, std::int64_t low,
                       std::int64_t high) const {
    if (value < static_cast<std::uint64_t>(low) || value > static_cast<std::uint64_t>(high)) {
      fail(name, concat("is ", value, "; ", low, " to ", high, " were expected"));
    }
    return static_cast<std::int64_t>(value);
  }

  std::int64_t size(std::string_view suffix, std::int64_t high = kMaxExtent) const {
    const std::string name = key(suffix);
    return bounded(name, file_.get_u64(name), 1, high);
  }

  std::int64_t size_or(std::string_view suffix, std::int64_t otherwise) const {
    return file_.has(key(suffix)) ? size(suffix) : otherwise;
  }

  double positive(const std::string& name, double value) const {
    if (!(value > 0) || !std::isfinite(value))
      fail(name, concat("is ", value, "; a positive number was expected"));
    return value;
  }

  void read_sizes(ModelConfig& config) const {
    config.layers = size("block_count", kMaxLayers);
    config.hidden = size("embedding_length");
    config.feed_forward = size("feed_forward_length");
    config.heads = size("attention.head_count");
    config.kv_heads = size_or("attention.head_count_kv", config.heads);
    config.context = size("context_length", kMaxContext);
    config.head_dim =
        size_or("attention.key_length", std::max<std::int64_t>(config.hidden / config.heads, 1));
    if (size_or("attention.value_length", config.head_dim) != config.head_dim) {
      fail(key("attention.value_length"), "differs from the key length, which is not supported");
    }
    if (config.heads % config.kv_heads != 0) {
      fail(key("attention.head_count_kv"),
           concat("is ", config.kv_heads, ", which does not divide the ", config.heads,
                  " query heads"));
    }
    const std::string eps = key("attention.layer_norm_rms_epsilon");
    config.norm_eps = static_cast<float>(positive(eps, file_.get_f64(eps)));
    const GgufTensor* embedding = file_.find_tensor("token_embd.weight");
    if (embedding == nullptr || embedding->shape.size() != 2 ||
        embedding->shape[1] != config.hidden) {
      fail("tensor 'token_embd.weight'",
           concat("must be there with shape [vocabulary, ", config.hidden, "]"));
    }
    config.vocabulary =
        bounded("the vocabulary", static_cast<std::uint64_t>(embedding->shape[0]), 1, kMaxExtent);
  }

  void read_rope(ModelConfig& config) const {
    if (config.head_dim % 2 != 0) fail(key("attention.key_length"), "is odd, and RoPE turns pairs");
    if (size_or("rope.dimension_count", config.head_dim) != config.head_dim) {
      fail(key("rope.dimension_count"), "turns only a part of each head, which is not supported");
    }
    const std::string base = key("rope.freq_base");
    config.rope_base = file_.find_f64(base).value_or(10000);
    if (!(config.rope_base > 1) || !std::isfinite(config.rope_base))
      fail(base, concat("is ", config.rope_base, "; a number above 1 was expected"));

    const std::string* type = file_.find_string(key("rope.scaling.type"));
    if (type == nullptr || *type == "none") return;
    RopeScaling& scaling = config.rope_scaling;
    const std::string factor = key("rope.scaling.factor");
    scaling.factor = file_.get_f64(factor);
    if (!(scaling.factor >= 1) || !std::isfinite(scaling.factor)) {
      fail(factor, concat("is ", scaling.factor, "; at least 1 was expected"));
    }
    if (*type == "linear") {
      scaling.kind = RopeScaling::Kind::linear;
    } else if (*type == "yarn") {
      scaling.kind = RopeScaling::Kind::yarn;
      const std::string original = key("rope.scaling.original_context_length");
      scaling.original_context =
          static_cast<double>(bounded(original, file_.get_u64(original), 1, kMaxContext));
      auto optional = [&](std::string_view suffix, double otherwise) {
        const auto value = file_.find_f64(key(suffix));
        return value ? positive(key(suffix), *value) : otherwise;
      };
      scaling.beta_fast = optional("rope.scaling.yarn_beta_fast", 32);
      scaling.beta_slow = optional("rope.scaling.yarn_beta_slow", 1);
      // In GGUF this multiplies the factor that YaRN would take by itself.
      const double by_default = 0.1 * std::log(scaling.factor) + 1;
      scaling.attention_factor = by_default * optional("rope.scaling.attn_factor", 1);
    } else {
      fail(key("rope.scaling.type"),
           concat("is '", type->substr(0, 64), "'; none, linear or yarn were expected"));
    }
  }

  L2aConfig read_l2a(const ModelConfig& config) const {
    L2aConfig l2a;
    l2a.window = size("attention.sliding_window", kMaxContext);
    const std::string temperature = key("l2a.router.temperature"),
                      threshold = key("l2a.router.threshold");
    l2a.temperature = positive(temperature, file_.get_f64(temperature));
    l2a.threshold = file_.get_f64(threshold);
    if (!(l2a.threshold > 0 && l2a.threshold < 1)) {
      fail(threshold, concat("is ", l2a.threshold, "; between 0 and 1 was expected"));
    }
    const std::string* mode = file_.find_string(key("l2a.mode"));
    if (mode != nullptr && *mode != "add" && *mode != "widen") {
      fail(key("l2a.mode"), concat("is '", mode->substr(0, 64), "'; add or widen were expected"));
    }
    l2a.mode = mode != nullptr && *mode == "widen" ? L2aMode::widen : L2aMode::add;
    const std::string sinks = key("l2a.sinks");
    l2a.sinks = bounded(sinks, file_.find_u64(sinks).value_or(0), 0, kMaxContext);
    if (l2a.mode == L2aMode::add && l2a.sinks != 0) fail(sinks, "is 0 in mode add");
    const std::string layers = key("l2a.global_layers");
    l2a.global_layers = file_.find_bools(layers).value_or(
        std::vector<bool>(static_cast<std::size_t>(config.layers), true));
    if (l2a.global_layers.size() != static_cast<std::size_t>(config.layers)) {
      fail(layers,
           concat("has ", l2a.global_layers.size(), " entries for ", config.layers, " layers"));
    }
    const std::string skips = key("l2a.router.skip_logits");
    l2a.skip_logits = file_.find_floats(skips).value_or(std::vector<double>());
    const auto finite = [](double value) { return std::isfinite(value); };
    if (l2a.skip_logits.size() == 1 || !std::ranges::all_of(l2a.skip_logits, finite) ||
        !std::ranges::is_sorted(l2a.skip_logits)) {
      fail(skips, "must be two or more finite numbers, ascending");
    }
    const std::string scales = key("l2a.router.need_scales");
    l2a.need_scales = file_.find_floats(scales).value_or(std::vector<double>());
    if (!std::ranges::all_of(l2a.need_scales, finite) ||
        (!l2a.need_scales.empty() &&
         l2a.need_scales.size() != static_cast<std::size_t>(config.layers))) {
      fail(scales, "must be a finite number for each layer");
    }
    return l2a;
  }

  const GgufFile& file_;
  std::string architecture_;
};

}  // namespace

std::int64_t L2aConfig::routed_layers() const {
  return std::count(global_layers.begin(), global_layers.end(), true);
}

float L2aConfig::cut_for_skip(double skip) const {
  if (!(skip >= 0 && skip <= 1)) throw Error(concat("a skipped share is from 0 to 1, not ", skip));
  if (skip_logits.empty())
    throw Error(
        "the model's routers were not fitted, so none knows which cut skips how many tokens");
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (skip == 0) return -kInfinity;
  if (skip == 1) return kInfinity;
  const double at = skip * static_cast<double>(skip_logits.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const double low = skip_logits[below], high = skip_logits[below + 1];
  return static_cast<float>(low + (high - low) * (at - static_cast<double>(below)));
}

AttentionHeads ModelConfig::attention_heads() const {
  const RopePairing pairing =
      family == Family::llama ? RopePairing::interleaved : RopePairing::half;
  return {heads, kv_heads, head_dim, norm_eps, pairing};
}

bool ModelConfig::routes(std::int64_t layer) const {
  return l2a && l2a->global_layers[static_cast<std::size_t>(layer)];
}

ModelConfig ModelConfig::from_gguf(const GgufFile& file) { return ConfigReader(file).read(); }

}  // namespace l2a
