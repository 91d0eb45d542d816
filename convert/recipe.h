// The named mixes of types that people ask for: which tensor of a model gets which type. They are
// those of the GGUF ecosystem, tensor by tensor, so that a name promises the same size and quality
// here as elsewhere.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "graph/dtype.h"
#include "models/model_config.h"

namespace l2a {

// Layers in which a tensor gets a wider type than most: errors made early pass through every later
// layer, those made late reach the logits undiluted, and a few in between keep errors from adding
// up.
enum class WiderIn : std::uint8_t {
  no_layer,
  first_eighth,
  first_eighth_given_importance,
  first_four,
  first_and_last_eighth_and_every_third,
};

struct WiderRule {
  WiderIn layers = WiderIn::no_layer;
  Dtype type = Dtype::f32;
};

struct Recipe {
  std::string_view name;    // "q4_k_m"
  std::uint32_t file_type;  // general.file_type of the file
  Dtype matrices;           // of every matrix that nothing else says a type for
  Dtype logits;             // of the matrix that makes the logits
  WiderRule attn_v;
  WiderRule ffn_down;
};

// What a recipe asks of a model.
struct RecipeModel {
  std::int64_t layers = 0;
  bool tied_embeddings = false;  // the embedding makes the logits
  // 70B models spend more on attn_v: its eightfold sharing makes it small and its errors count.
  bool is_70b = false;
  bool has_importance = false;  // importance weights are at hand
};

RecipeModel recipe_model(const ModelConfig& config, bool tied_embeddings, bool has_importance);

std::span<const Recipe> recipes();
// By name, in either case; null when there is none.
const Recipe* find_recipe(std::string_view name);
// "q4_k_m, q4_k_s, ...", for messages.
std::string recipe_names();

// The type of a tensor, by its name in the GGUF file and its shape, outermost first. Norms, biases
// and routers are f32. Tensors of the global branch ("attn_v_global") are treated as their local
// counterparts. Where rows are not whole blocks of the recipe's type, the nearest type of 32 values
// a block takes its place, and f16 where they are not whole blocks of 32 either.
Dtype recipe_dtype(const Recipe& recipe, const RecipeModel& model, std::string_view name,
                   std::span<const std::int64_t> shape);

}  // namespace l2a
