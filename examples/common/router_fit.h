// Fitting "widen" routers to a dense model (design.md 2): what each token's long read would change is measured, and a
// linear function of what the router will be given is fitted to it.
//
// The need of a token in a layer is |Wo (a_all - a_window)| / |x|: how much of the layer's output its long read makes. What
// a need does to the predictions differs from layer to layer (layer_effect.h), by which it is scaled. The target is
// log(scaled need + least), where `least` is about what the last routed token needs: below it differences do not matter.
// It is fitted by least squares with a ridge in standardized features, from normal equations: one pass over the text, and
// memory that does not grow with it. The targets of all layers have one scale, so one cut of all routers spends one budget
// of routed tokens where it does most.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "convert/construct.h"
#include "graph/thread_pool.h"
#include "models/session.h"
#include "models/tokenizer.h"

namespace l2a {

// What needs are worth.
struct NeedScale {
  std::vector<double>
      log_scales;       // by layer, of what a need is multiplied with; empty: not known yet
  double least = 1e-3;  // scaled

  double scaled(std::size_t layer, float need) const;
  // About how far apart the predictions are with and without the long read, but for one factor of all layers.
  float effect(std::size_t layer, float need) const;
  float target(std::size_t layer, float need) const;
};

// The need of every token, [tokens]. Throws Error when the model's activations are not finite.
std::vector<float> attention_need(const NarrowedAttention& step);

// The logits of tokens with these features [tokens, E].
std::vector<float> router_logits(const LinearRouter& router, std::span<const float> features);

// Sums over tokens from which a layer's router is fitted.
class RouterStatistics {
 public:
  explicit RouterStatistics(std::int64_t features);

  // Tokens with their features [tokens, E] and targets [tokens].
  void add(ThreadPool& pool, std::span<const float> features, std::span<const float> targets);
  std::int64_t count() const { return count_; }
  std::size_t bytes() const;

  // `ridge`: of the variance of a feature, which is 1. Throws Error below two tokens.
  LinearRouter fit(double ridge) const;

 private:
  friend class FitState;
  std::int64_t features_;
  std::int64_t count_ = 0;
  // Sums are of features less `shift_`, the mean of the first ones, so that they do not cancel.
  std::vector<float> shift_;  // [E]
  // The lower triangle of the matrix of squares in block rows: of the rows [b, b + 1) * kBlock the columns up to
  // their last, row-major. In f32: in f64 those of a model of 8 billion weights would take 2.4 GB.
  std::vector<std::vector<float>> squares_;
  std::vector<double> sums_, products_;  // [E]: of the features, and of features times target
  double target_sum_ = 0;
};

// What a fit that was interrupted goes on from: the statistics of all layers, and of which text they are.
//
// A .safetensors file: `settings` I64 [n] and `tokens` I32 [m] say what was measured, `contexts` I64 [1] how much of it,
// `scales` F64 [L]
// and `least` F64 [1] the scale of needs, and for each layer N there are `N.shift` and `N.squares` F32, and `N.sums`, `N.products` and `N.totals` F64.
class FitState {
 public:
  // Writes aside and renames.
  static void save(const std::filesystem::path& path, std::span<const std::int64_t> settings,
                   std::span<const Token> tokens, std::int64_t contexts, const NeedScale& scale,
                   std::span<const RouterStatistics> layers);
  // The number of contexts that `layers` then hold; sets `scale` too. Throws FileError for a file that is none, or of another model, text
  // or settings.
  static std::int64_t load(const std::filesystem::path& path,
                           std::span<const std::int64_t> settings, std::span<const Token> tokens,
                           NeedScale& scale, std::span<RouterStatistics> layers);
};

}  // namespace l2a
