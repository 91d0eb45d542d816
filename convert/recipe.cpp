#include "convert/recipe.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>

#include "graph/error.h"

namespace l2a {
namespace {

constexpr WiderRule kSame = {};
constexpr WiderRule kSpreadQ6K = {WiderIn::first_and_last_eighth_and_every_third, Dtype::q6_k};
constexpr WiderRule kFirstFourQ5K = {WiderIn::first_four, Dtype::q5_k};
constexpr WiderRule kEighthQ5K = {WiderIn::first_eighth, Dtype::q5_k};
constexpr WiderRule kEighthQ4_1 = {WiderIn::first_eighth_given_importance, Dtype::q4_1};
constexpr WiderRule kEighthQ5_1 = {WiderIn::first_eighth_given_importance, Dtype::q5_1};

constexpr std::array<Recipe, 13> kRecipes = {{
    // name, file type, matrices, logits, attn_v, ffn_down
    {"q4_k_m", 15, Dtype::q4_k, Dtype::q6_k, kSpreadQ6K, kSpreadQ6K},
    {"q4_k_s", 14, Dtype::q4_k, Dtype::q6_k, kFirstFourQ5K, kEighthQ5K},
    {"q5_k_m", 17, Dtype::q5_k, Dtype::q6_k, kSpreadQ6K, kSpreadQ6K},
    {"q5_k_s", 16, Dtype::q5_k, Dtype::q6_k, kSame, kSame},
    {"q6_k", 18, Dtype::q6_k, Dtype::q6_k, kSame, kSame},
    {"q8_0", 7, Dtype::q8_0, Dtype::q8_0, kSame, kSame},
    {"q4_0", 2, Dtype::q4_0, Dtype::q6_k, kSame, kEighthQ4_1},
    {"q4_1", 3, Dtype::q4_1, Dtype::q6_k, kSame, kSame},
    {"q5_0", 8, Dtype::q5_0, Dtype::q6_k, kSame, kEighthQ5_1},
    {"q5_1", 9, Dtype::q5_1, Dtype::q6_k, kSame, kSame},
    {"f16", 1, Dtype::f16, Dtype::f16, kSame, kSame},
    {"bf16", 32, Dtype::bf16, Dtype::bf16, kSame, kSame},
    {"f32", 0, Dtype::f32, Dtype::f32, kSame, kSame},
}};

bool applies(WiderIn where, const RecipeModel& model, std::int64_t layer) {
  const std::int64_t eighth = model.layers / 8;
  switch (where) {
    case WiderIn::no_layer:
      return false;
    case WiderIn::first_eighth:
      return layer < eighth;
    case WiderIn::first_eighth_given_importance:
      return model.has_importance && layer < eighth;
    case WiderIn::first_four:
      return layer < 4;
    case WiderIn::first_and_last_eighth_and_every_third:
      return layer < eighth || layer >= 7 * model.layers / 8 || (layer - eighth) % 3 == 2;
  }
  return false;
}

struct LayerTensor {
  std::int64_t layer = -1;  // -1: of no layer
  std::string part;         // "attn_v", without ".weight" and "_global"
};

LayerTensor parse(std::string_view name) {
  constexpr std::string_view kPrefix = "blk.";
  LayerTensor tensor;
  if (!name.starts_with(kPrefix)) {
    return tensor;
  }
  const char* end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, tensor.layer);
  if (error != std::errc() || rest == end || *rest != '.') {
    throw Error(concat("tensor name ", name, " is not blk.<layer>.<part>"));
  }
  std::string_view part(rest + 1, static_cast<std::size_t>(end - rest - 1));
  part = part.substr(0, part.find('.'));
  constexpr std::string_view kGlobal = "_global";
  if (part.ends_with(kGlobal)) {
    part.remove_suffix(kGlobal.size());
  }
  tensor.part = part;
  return tensor;
}

Dtype wanted_dtype(const Recipe& recipe, const RecipeModel& model, std::string_view name,
                   const LayerTensor& tensor) {
  if (name == "output.weight" || (model.tied_embeddings && name == "token_embd.weight")) {
    return recipe.logits;
  }
  if (tensor.part == "attn_v") {
    if (applies(recipe.attn_v.layers, model, tensor.layer)) {
      return recipe.attn_v.type;
    }
    return model.is_70b && recipe.matrices == Dtype::q4_k ? Dtype::q5_k : recipe.matrices;
  }
  if (tensor.part == "ffn_down" && applies(recipe.ffn_down.layers, model, tensor.layer)) {
    return recipe.ffn_down.type;
  }
  return recipe.matrices;
}

Dtype fitting(Dtype wanted, std::int64_t row_length) {
  const auto fits = [&](Dtype dtype) { return row_length % dtype_info(dtype).block_elements == 0; };
  if (fits(wanted)) {
    return wanted;
  }
  const Dtype instead = wanted == Dtype::q4_k   ? Dtype::q5_0
                        : wanted == Dtype::q5_k ? Dtype::q5_1
                        : wanted == Dtype::q6_k ? Dtype::q8_0
                                                : Dtype::f16;
  return fits(instead) ? instead : Dtype::f16;
}

}  // namespace

RecipeModel recipe_model(const ModelConfig& config, bool tied_embeddings, bool has_importance) {
  const bool as_70b =
      config.layers == 80 && (config.family == Family::qwen2 ||
                              (config.family == Family::llama && config.heads != config.kv_heads));
  return {config.layers, tied_embeddings, as_70b, has_importance};
}

std::span<const Recipe> recipes() { return kRecipes; }

const Recipe* find_recipe(std::string_view name) {
  const auto same = [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); };
  for (const Recipe& recipe : kRecipes) {
    if (std::ranges::equal(recipe.name, name, same)) {
      return &recipe;
    }
  }
  return nullptr;
}

std::string recipe_names() {
  std::string names;
  for (const Recipe& recipe : kRecipes) {
    names += concat(names.empty() ? "" : ", ", recipe.name);
  }
  return names;
}

Dtype recipe_dtype(const Recipe& recipe, const RecipeModel& model, std::string_view name,
                   std::span<const std::int64_t> shape) {
  const LayerTensor tensor = parse(name);
  if (shape.size() < 2 || tensor.part == "attn_router") {
    return Dtype::f32;
  }
  return fitting(wanted_dtype(recipe, model, name, tensor), shape.back());
}

}  // namespace l2a
