#include "convert/construct.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "convert/model_metadata.h"
#include "graph/error.h"
#include "ops/route.h"

namespace l2a {
namespace {

SourceTensor zeros(std::string name, std::vector<std::int64_t> shape, bool always_f32) {
  SourceTensor tensor;
  tensor.origin = name;
  tensor.name = std::move(name);
  tensor.shape = std::move(shape);
  tensor.always_f32 = always_f32;
  tensor.read = [](std::int64_t /*first*/, std::span<float> out) {
    std::fill(out.begin(), out.end(), 0.0f);
  };
  return tensor;
}

// Of f32 whatever the rest is.
SourceTensor filled(std::string name, std::vector<std::int64_t> shape, std::vector<float> values) {
  SourceTensor tensor = zeros(std::move(name), std::move(shape), true);
  tensor.read = [width = tensor.row_length(), values = std::move(values)](std::int64_t first,
                                                                          std::span<float> out) {
    std::copy_n(values.begin() + first * width, out.size(), out.begin());
  };
  return tensor;
}

// "blk.3.attn_q.weight" -> "blk.3.attn_q_global.weight"; empty for a tensor the global branch has no
// counterpart of.
std::string global_name(const std::string& name) {
  constexpr std::array<std::string_view, 7> kBranch = {
      ".attn_norm.",   ".attn_q.",      ".attn_k.",     ".attn_v.",
      ".attn_output.", ".attn_q_norm.", ".attn_k_norm."};
  for (const std::string_view part : kBranch) {
    const std::size_t at = name.find(part);
    if (at == std::string::npos) continue;
    return name.substr(0, at + part.size() - 1) + "_global" + name.substr(at + part.size() - 1);
  }
  return "";
}

bool is_routed_part(std::string_view name, std::string_view block) {
  return name.starts_with(block) && (name.find("_global.") != std::string_view::npos ||
                                     name.find(".attn_router.") != std::string_view::npos);
}

}  // namespace

void make_l2a(Checkpoint& checkpoint, const L2aConstruction& construction) {
  ModelConfig& config = checkpoint.config;
  const bool add = construction.mode == L2aMode::add;
  if (config.l2a) throw Error(concat(checkpoint.origin, ": is an L2A model already"));
  if (construction.window < 1)
    throw Error(concat("a window has at least 1 token, not ", construction.window));
  if (construction.sinks < 0 || (add && construction.sinks != 0)) {
    throw Error(concat(construction.sinks, " sinks: 0 in mode add, 0 or more in mode widen"));
  }
  router_cut(construction.temperature, construction.threshold);  // checks both
  if (!add && construction.zero_global_output) {
    throw Error("mode widen has no global output projection to be zero");
  }

  const std::string dense = config.architecture;
  config.architecture = "l2a-" + dense;
  config.l2a = L2aConfig{construction.mode,
                         construction.window,
                         construction.sinks,
                         construction.temperature,
                         construction.threshold,
                         std::vector<bool>(static_cast<std::size_t>(config.layers), true),
                         {},
                         {}};
  checkpoint.metadata.rename_prefix(dense + ".", config.architecture + ".");
  checkpoint.metadata.set_string("general.architecture", config.architecture);
  set_l2a_metadata(checkpoint.metadata, config);

  // Each layer's new tensors go before its MLP, where conversions of L2A checkpoints put them.
  std::vector<SourceTensor> tensors, global;
  for (SourceTensor& tensor : checkpoint.tensors) {
    if (tensor.name.ends_with(".ffn_norm.weight")) {
      const std::string block =
          tensor.name.substr(0, tensor.name.size() - std::string_view("ffn_norm.weight").size());
      std::move(global.begin(), global.end(), std::back_inserter(tensors));
      global.clear();
      tensors.push_back(zeros(block + "attn_router.weight", {1, config.hidden}, true));
    }
    if (const std::string name = global_name(tensor.name); add && !name.empty()) {
      const bool silent =
          construction.zero_global_output && name.find(".attn_output_global.") != std::string::npos;
      SourceTensor copy = silent ? zeros(name, tensor.shape, tensor.always_f32) : tensor;
      copy.name = name;
      copy.stored = tensor.stored;
      global.push_back(std::move(copy));
    }
    tensors.push_back(std::move(tensor));
  }
  checkpoint.tensors = std::move(tensors);
}

void set_routers(Checkpoint& checkpoint, std::span<const LinearRouter> routers) {
  const ModelConfig& config = checkpoint.config;
  if (!config.l2a || config.l2a->mode != L2aMode::widen ||
      static_cast<std::size_t>(config.l2a->routed_layers()) != routers.size())
    throw Error("routers are set in a model that widens, one for each layer");
  std::vector<SourceTensor> tensors;
  for (SourceTensor& tensor : checkpoint.tensors) {
    const std::size_t dot = tensor.name.find(".attn_router.weight");
    if (dot == std::string::npos) {
      tensors.push_back(std::move(tensor));
      continue;
    }
    constexpr std::string_view kBlock = "blk.";
    const std::string block = tensor.name.substr(0, dot);
    const LinearRouter& router = routers[std::stoul(block.substr(kBlock.size()))];
    tensors.push_back(filled(tensor.name, {1, config.hidden}, router.weights));
    tensors.push_back(filled(block + ".attn_router.bias", {1}, {router.bias}));
  }
  checkpoint.tensors = std::move(tensors);
}

void prune_layers(Checkpoint& checkpoint, std::span<const std::int64_t> layers) {
  ModelConfig& config = checkpoint.config;
  if (!config.l2a)
    throw Error(concat(checkpoint.origin, ": is a dense model; only L2A layers can be pruned"));
  for (const std::int64_t layer : layers) {
    if (layer < 0 || layer >= config.layers) {
      throw Error(
          concat("layer ", layer, " cannot be pruned: there are layers 0 to ", config.layers - 1));
    }
    if (!config.routes(layer)) throw Error(concat("layer ", layer, " is pruned already"));
    config.l2a->global_layers[static_cast<std::size_t>(layer)] = false;
    const std::string block = concat("blk.", layer, ".");
    std::erase_if(checkpoint.tensors,
                  [&](const SourceTensor& tensor) { return is_routed_part(tensor.name, block); });
  }
  set_l2a_metadata(checkpoint.metadata, config);
}

void set_rope_base(Checkpoint& checkpoint, double base) {
  if (!(base > 1) || !std::isfinite(base))
    throw Error(concat("a RoPE base is above 1, not ", base));
  checkpoint.config.rope_base = base;
  checkpoint.metadata.set_f32(checkpoint.config.architecture + ".rope.freq_base",
                              static_cast<float>(base));
}

void set_context(Checkpoint& checkpoint, std::int64_t context) {
  if (context < 1 || context > INT32_MAX) {
    throw Error(concat("a context holds 1 to ", INT32_MAX, " tokens, not ", context));
  }
  checkpoint.config.context = context;
  checkpoint.metadata.set_u32(checkpoint.config.architecture + ".context_length",
                              static_cast<std::uint32_t>(context));
}

}  // namespace l2a
