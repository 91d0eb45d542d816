#include "examples/common/layer_effect.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "examples/common/evaluation.h"
#include "examples/common/router_quality.h"
#include "graph/error.h"

namespace l2a {
namespace {

constexpr std::int64_t kStep = 256;

class Measurement {
 public:
  Measurement(const ModelOptions& options, const std::shared_ptr<const GgufFile>& file,
              const Narrowing& narrowing, std::span<const std::vector<Token>> pieces,
              ThreadPool& pool, const std::function<void(std::int64_t)>& done)
      : config_(ModelConfig::from_gguf(*file)),
        narrowing_(narrowing),
        pieces_(pieces),
        pool_(pool),
        done_(done),
        effects_(static_cast<std::size_t>(config_.layers)) {
    for (const std::vector<Token>& piece : pieces)
      session_.context = std::max(session_.context, static_cast<std::int64_t>(piece.size()));
    session_.chunk = kStep;
    session_.cache_dtype = options.cache_dtype();
    placed_ = place_model(options, file, session_, LogitsOf::all,
                          make_backend(options.backend, options.threads));
  }

  std::vector<LayerEffect> run() {
    for (const std::vector<Token>& piece : pieces_) {
      const std::int64_t from = first_compared(piece);
      compared_ += static_cast<std::int64_t>(piece.size()) - 1 - from;
      measure_needs(piece, from);
      whole_.clear();
      predict(piece, from, -1, [&](const ScoredStep& step) {
        const std::size_t at = whole_.size();
        whole_.resize(at + step.next.size() * vocabulary());
        log_softmax(step, std::span(whole_).subspan(at));
      });
      for (std::int64_t layer = 0; layer < config_.layers; ++layer) compare(piece, from, layer);
    }
    for (LayerEffect& effect : effects_) effect.divergence /= static_cast<double>(compared_);
    return effects_;
  }

 private:
  std::size_t vocabulary() const { return static_cast<std::size_t>(config_.vocabulary); }

  std::int64_t first_compared(std::span<const Token> piece) const {
    const auto size = static_cast<std::int64_t>(piece.size());
    return std::max(size - 1 - kEffectPositions,
                    std::min(narrowing_.window + narrowing_.sinks, size - 2));
  }

  Session open(const Narrowing& narrowing,
               std::function<void(const NarrowedAttention&)> observe = {}) const {
    SessionOptions options = session_;
    options.narrowing = narrowing;
    options.observe_narrowed = std::move(observe);
    return {placed_.model, placed_.backend, placed_.fallbacks, options};
  }

  void measure_needs(std::span<const Token> piece, std::int64_t from) {
    Session session = open(narrowing_, [&](const NarrowedAttention& step) {
      const std::vector<float> needs = attention_need(step);
      std::vector<float>& compared = effects_[static_cast<std::size_t>(step.layer)].needs;
      const auto last = static_cast<std::int64_t>(piece.size()) - 1;
      for (std::size_t i = 0; i < needs.size(); ++i) {
        const std::int64_t position = step.first + static_cast<std::int64_t>(i);
        if (position >= from && position < last) compared.push_back(needs[i]);
      }
    });
    for (std::size_t begin = 0; begin < piece.size(); begin += kStep) {
      const std::size_t count = std::min<std::size_t>(kStep, piece.size() - begin);
      session.step(piece.subspan(begin, count), LogitsOf::none);
      done_(static_cast<std::int64_t>(count));
    }
  }

  void predict(std::span<const Token> piece, std::int64_t from, std::int64_t layer,
               const std::function<void(const ScoredStep&)>& scored) {
    Narrowing narrowing = narrowing_;
    narrowing.layer = layer;
    Session session = open(narrowing);
    run_chunk(session, piece, from, kStep, scored, done_);
  }

  void log_softmax(const ScoredStep& step, std::span<float> out) {
    const std::size_t width = vocabulary();
    pool_.parallel_for(
        static_cast<std::int64_t>(step.next.size()), 1, [&](std::int64_t begin, std::int64_t end) {
          for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i)
            l2a::log_softmax(step.logits.subspan(i * width, width), out.subspan(i * width, width));
        });
  }

  void compare(std::span<const Token> piece, std::int64_t from, std::int64_t layer) {
    std::size_t at = 0;
    double sum = 0;
    predict(piece, from, layer, [&](const ScoredStep& step) {
      narrowed_.resize(step.next.size() * vocabulary());
      log_softmax(step, narrowed_);
      for (const float log_prob : narrowed_) {
        const auto whole = static_cast<double>(whole_[at++]);
        sum += std::exp(whole) * (whole - static_cast<double>(log_prob));
      }
    });
    if (!std::isfinite(sum))
      throw Error("the model's logits are not finite numbers: its weights are damaged");
    effects_[static_cast<std::size_t>(layer)].divergence += sum;
  }

  ModelConfig config_;
  Narrowing narrowing_;
  std::span<const std::vector<Token>> pieces_;
  ThreadPool& pool_;
  const std::function<void(std::int64_t)>& done_;
  SessionOptions session_;
  PlacedModel placed_;
  std::int64_t compared_ = 0;
  std::vector<float> whole_, narrowed_;  // log p, [positions, V]
  std::vector<LayerEffect> effects_;
};

}  // namespace

std::vector<LayerEffect> layer_effects(const ModelOptions& options,
                                       const std::shared_ptr<const GgufFile>& file,
                                       const Narrowing& narrowing,
                                       std::span<const std::vector<Token>> pieces, ThreadPool& pool,
                                       const std::function<void(std::int64_t)>& done) {
  return Measurement(options, file, narrowing, pieces, pool, done).run();
}

NeedScale need_scale(std::span<const LayerEffect> effects, double skip) {
  constexpr double kPrior = 0.05;  // of the mean layer
  constexpr double kFewest = 0.05, kMost = 0.95;
  const auto layers = static_cast<double>(effects.size());
  // Rounding makes the predictions differ a little whatever is changed: the layer that does least is taken to do nothing.
  double noise = std::numeric_limits<double>::infinity(), divergence = 0, need = 0;
  std::vector<double> squares;
  for (const LayerEffect& effect : effects) {
    noise = std::min(noise, effect.divergence);
    double sum = 0;
    for (const float value : effect.needs)
      sum += static_cast<double>(value) * static_cast<double>(value);
    squares.push_back(sum / std::max(1.0, static_cast<double>(effect.needs.size())));
    need += squares.back() / layers;
  }
  for (const LayerEffect& effect : effects) divergence += (effect.divergence - noise) / layers;
  NeedScale scale;
  std::vector<float> scaled;
  for (std::size_t i = 0; i < effects.size(); ++i) {
    const double of = effects[i].divergence - noise + kPrior * divergence;
    const double by = squares[i] + kPrior * need;
    scale.log_scales.push_back(of > 0 && by > 0 ? std::log(of / by) / 2 : 0);
    for (const float value : effects[i].needs)
      scaled.push_back(static_cast<float>(scale.scaled(i, value)));
  }
  if (scaled.empty()) return scale;
  // Also where nothing or everything is skipped, which a run may choose otherwise.
  const double least =
      static_cast<double>(quantile(std::move(scaled), std::clamp(skip, kFewest, kMost)));
  if (std::isfinite(least) && least > 0) scale.least = least;
  return scale;
}

}  // namespace l2a
