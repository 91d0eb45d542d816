#include "convert/recipe.h"

#include <doctest/doctest.h>

#include <array>
#include <string>
#include <vector>

#include "graph/error.h"

namespace l2a {
namespace {

RecipeModel model_of(std::int64_t layers) { return {.layers = layers}; }

Dtype type_of(const char* recipe, const RecipeModel& model, const std::string& name,
              std::int64_t row_length = 1024) {
  const Recipe* found = find_recipe(recipe);
  REQUIRE(found != nullptr);
  const std::array<std::int64_t, 2> shape = {64, row_length};
  return recipe_dtype(*found, model, name, shape);
}

// Layers where a part of the model is of `type`.
std::vector<std::int64_t> layers_with(const char* recipe, const RecipeModel& model,
                                      const char* part, Dtype type) {
  std::vector<std::int64_t> layers;
  for (std::int64_t layer = 0; layer < model.layers; ++layer) {
    if (type_of(recipe, model, concat("blk.", layer, ".", part, ".weight")) == type) {
      layers.push_back(layer);
    }
  }
  return layers;
}

using Layers = std::vector<std::int64_t>;
const Layers kSpreadOf28 = {0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27};

// The layers below are those of llama-quantize's files of models with as many layers.

TEST_CASE("q4_k_m and q5_k_m: attn_v and ffn_down are q6_k at both ends and in every third layer") {
  for (const char* recipe : {"q4_k_m", "q5_k_m"}) {
    const Dtype most = *recipe == 'q' && recipe[1] == '4' ? Dtype::q4_k : Dtype::q5_k;
    for (const char* part : {"attn_v", "ffn_down", "attn_v_global"}) {
      CHECK(layers_with(recipe, model_of(28), part, Dtype::q6_k) == kSpreadOf28);
      CHECK(layers_with(recipe, model_of(10), part, Dtype::q6_k) == Layers{0, 3, 6, 8, 9});
      CHECK(layers_with(recipe, model_of(8), part, Dtype::q6_k) == Layers{0, 3, 6, 7});
      CHECK(layers_with(recipe, model_of(4), part, Dtype::q6_k) == Layers{2, 3});
      CHECK(layers_with(recipe, model_of(28), part, most).size() == 14);
    }
    for (const char* part : {"attn_q", "attn_k", "attn_output", "ffn_gate", "ffn_up",
                             "attn_q_global", "attn_k_global", "attn_output_global"}) {
      CHECK(layers_with(recipe, model_of(28), part, most).size() == 28);
    }
  }
}

TEST_CASE("q4_k_s: q5_k in the first four layers' attn_v and the first eighth's ffn_down") {
  CHECK(layers_with("q4_k_s", model_of(28), "attn_v", Dtype::q5_k) == Layers{0, 1, 2, 3});
  CHECK(layers_with("q4_k_s", model_of(28), "ffn_down", Dtype::q5_k) == Layers{0, 1, 2});
  CHECK(layers_with("q5_k_s", model_of(28), "attn_v", Dtype::q5_k).size() == 28);
}

TEST_CASE("importance weights widen ffn_down in the first eighth of q4_0 and q5_0") {
  RecipeModel model = model_of(16);
  CHECK(layers_with("q4_0", model, "ffn_down", Dtype::q4_1).empty());
  model.has_importance = true;
  CHECK(layers_with("q4_0", model, "ffn_down", Dtype::q4_1) == Layers{0, 1});
  CHECK(layers_with("q5_0", model, "ffn_down", Dtype::q5_1) == Layers{0, 1});
  CHECK(layers_with("q4_1", model, "ffn_down", Dtype::q4_1).size() == 16);
}

TEST_CASE("70B models have q5_k where attn_v would be q4_k") {
  ModelConfig config;
  config.layers = 80;
  config.heads = 64;
  config.kv_heads = 8;
  const auto layers_wider = [&](Family family) {
    config.family = family;
    const RecipeModel model = recipe_model(config, false, false);
    CHECK(layers_with("q4_k_m", model, "ffn_down", Dtype::q5_k).empty());
    return layers_with("q4_k_m", model, "attn_v", Dtype::q5_k).size();
  };
  CHECK(layers_wider(Family::qwen2) == 40);
  CHECK(layers_wider(Family::llama) == 40);
  CHECK(layers_wider(Family::qwen3) == 0);
  config.family = Family::llama;
  config.kv_heads = 64;
  CHECK_FALSE(recipe_model(config, false, false).is_70b);
}

TEST_CASE("the matrix of the logits is q6_k in quantized mixes, tied or not") {
  RecipeModel model = model_of(28);
  for (const char* recipe : {"q4_k_m", "q5_k_s", "q4_0", "q4_1", "q5_0", "q5_1", "q6_k"}) {
    CHECK(type_of(recipe, model, "output.weight") == Dtype::q6_k);
    model.tied_embeddings = true;
    CHECK(type_of(recipe, model, "token_embd.weight") == Dtype::q6_k);
    model.tied_embeddings = false;
    CHECK(type_of(recipe, model, "token_embd.weight") == find_recipe(recipe)->matrices);
  }
  CHECK(type_of("q8_0", model, "output.weight") == Dtype::q8_0);
  CHECK(type_of("f16", model, "output.weight") == Dtype::f16);
}

TEST_CASE("rows that are not whole blocks of 256 get types of 32, and others f16") {
  const RecipeModel model = model_of(28);
  CHECK(type_of("q4_k_m", model, "blk.4.attn_q.weight", 192) == Dtype::q5_0);
  CHECK(type_of("q5_k_m", model, "blk.4.attn_q.weight", 192) == Dtype::q5_1);
  CHECK(type_of("q4_k_m", model, "blk.0.attn_v.weight", 192) == Dtype::q8_0);
  CHECK(type_of("q4_0", model, "output.weight", 192) == Dtype::q8_0);
  CHECK(type_of("q4_0", model, "blk.4.attn_q.weight", 192) == Dtype::q4_0);
  for (const char* recipe : {"q4_k_m", "q6_k", "q4_0", "q8_0"}) {
    CHECK(type_of(recipe, model, "blk.4.attn_q.weight", 144) == Dtype::f16);
  }
  CHECK(type_of("bf16", model, "blk.4.attn_q.weight", 7) == Dtype::bf16);
}

TEST_CASE("norms, biases and routers are f32 in every recipe") {
  for (const Recipe& recipe : recipes()) {
    const std::array<std::int64_t, 1> vector = {1024};
    const std::array<std::int64_t, 2> router = {1, 1024};
    for (const char* name : {"blk.3.attn_norm_global.weight", "blk.3.attn_v.bias",
                             "output_norm.weight", "blk.3.attn_router.bias"}) {
      CHECK(recipe_dtype(recipe, model_of(28), name, vector) == Dtype::f32);
    }
    CHECK(recipe_dtype(recipe, model_of(28), "blk.3.attn_router.weight", router) == Dtype::f32);
  }
}

TEST_CASE("recipes are found by name in either case") {
  for (const Recipe& recipe : recipes()) {
    CHECK(find_recipe(recipe.name) == &recipe);
  }
  CHECK(find_recipe("Q4_K_M") == &recipes().front());
  CHECK(find_recipe("q4_k") == nullptr);
  CHECK(find_recipe("q4_k_mm") == nullptr);
  CHECK(find_recipe("") == nullptr);
  CHECK(recipe_names().starts_with("q4_k_m, q4_k_s, "));
  CHECK_THROWS_AS(type_of("q8_0", model_of(4), "blk.x.attn_q.weight"), Error);
}

}  // namespace
}  // namespace l2a
