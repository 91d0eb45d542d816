// l2a-fit-router: an L2A model of a dense one, with routers fitted to where its long reads matter.
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <iostream>
#include <limits>

#include "convert/construct.h"
#include "convert/convert.h"
#include "convert/temporary_file.h"
#include "examples/common/fit_texts.h"
#include "examples/common/layer_effect.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/progress.h"
#include "examples/common/router_fit.h"
#include "examples/common/router_quality.h"
#include "examples/common/routing_options.h"
#include "models/kv_cache.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-fit-router";

constexpr const char* kDescription =
    "Makes an L2A model (mode widen) of a dense one: every token sees a window of keys and the\n"
    "first few, and routers pick the tokens that see all. They are fitted to what the dense model\n"
    "does with long text: in each layer and for each token, how much its long read changes. No\n"
    "gradients, no GPU needed. The weights stay as they are.";

constexpr const char* kExamples =
    "Examples:\n"
    "  l2a-fit-router model.gguf -f docs/*.txt -o model-l2a.gguf --window 256 --context 4096\n"
    "  l2a-fit-router model.gguf -f a.txt b.txt --held-out c.txt -o l2a.gguf --skip 0.9\n"
    "  l2a-fit-router model.gguf -f *.txt -o l2a.gguf --state fit.state    # goes on when "
    "repeated\n"
    "  l2a-run l2a.gguf -f report.txt -p 'What does it say of costs?' --skip 0.9\n"
    "  l2a-perplexity l2a.gguf -f held-out.txt --context 4096 --from 256 --skip 0.8\n\n"
    "Text: long documents of the kind that the model is to read, a file each; 200 thousand tokens\n"
    "are plenty. Every fifth is kept out of the fit to judge it by, unless --held-out names "
    "others.\n"
    "The output appears under its name only when it is complete.\n"
    "Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage, 130 interrupted.";

constexpr std::int64_t kMostContext = 8192;  // by default
// The inputs and outputs of every layer's attention are kept for a step: 4 values a hidden one, layer and token.
constexpr std::int64_t kStep = 256;
constexpr std::array kRidges = {1e-3, 1e-2, 1e-1};
constexpr std::size_t kSkipLogits = 101;
// Text by which the layers are weighed, read once a layer: two pieces, one where it would take longer than the fit
// itself, long enough that most of what they read is past the window.
constexpr std::int64_t kEffectPieces = 2, kTokensAnEffectPiece = 8192;
constexpr std::int64_t kEffectReaches = 6;
constexpr double kSaveEvery = 60;  // seconds

struct Options {
  l2a::ModelOptions model;
  std::vector<std::string> texts, held_out;
  std::string target, state;
  std::int64_t window = 1024, sinks = 4, context = 0, tokens = 0;
  double skip = 0.8;
  std::optional<double> prune_below;
  bool quiet = false;
};

std::string percent(double share, int digits = 1) {
  return std::isnan(share) ? "-" : concat(std::fixed, std::setprecision(digits), 100 * share);
}

class Fit {
 public:
  explicit Fit(const Options& options)
      : options_(options),
        file_(l2a::open_file(options.model)),
        config_(l2a::ModelConfig::from_gguf(*file_)),
        pool_(options.model.threads) {
    if (config_.l2a) throw l2a::Error(concat(options.model.path, ": is an L2A model already"));
    context_ = options.context > 0 ? options.context : std::min(kMostContext, config_.context);
    if (reach() >= context_) {
      throw l2a::Error(concat("a window of ", options.window, " and ", options.sinks,
                              " sinks see all of a context of ", context_,
                              ": nothing is left to route"));
    }
    refuse_inputs_as_outputs();
    texts_ =
        l2a::read_fit_texts({options.texts, options.held_out, context_, reach(), options.tokens},
                            l2a::open_tokenizer(*file_), config_.vocabulary);
    layers_.assign(static_cast<std::size_t>(config_.layers), l2a::RouterStatistics(config_.hidden));
    if (!options.state.empty() && std::filesystem::exists(options.state))
      contexts_done_ =
          l2a::FitState::load(options.state, settings(), fit_tokens(), scale_, layers_);
    // Before the work, so that a folder that cannot be written to is known at once.
    const l2a::TemporaryFile writable(options.target);
  }

  void run() {
    l2a::SessionOptions session_options;
    session_options.context = context_;
    session_options.chunk = kStep;
    session_options.cache_dtype = options_.model.cache_dtype();
    session_options.narrowing = {options_.window, options_.sinks};
    session_options.observe_narrowed = [&](const l2a::NarrowedAttention& step) { observe(step); };
    l2a::Progress progress(!options_.quiet, l2a::tokens_text);
    progress_ = &progress;
    progress_total_ = static_cast<std::uint64_t>(l2a::token_count(texts_.fitted) +
                                                 l2a::token_count(texts_.held_out));
    for (std::size_t i = 0; i < static_cast<std::size_t>(contexts_done_); ++i)
      progress_done_ += texts_.fitted[i].size();
    if (scale_.log_scales.empty()) weigh_layers();
    session_ = l2a::open_session(options_.model, file_, session_options, l2a::LogitsOf::none);
    measure();
    fit();
    judge();
    progress.clear();
    choose();
    seconds_ = progress.seconds();
  }

  void write() {
    l2a::Checkpoint checkpoint = l2a::open_gguf_checkpoint(options_.model.path);
    l2a::L2aConstruction construction;
    construction.mode = l2a::L2aMode::widen;
    construction.window = options_.window;
    construction.sinks = options_.sinks;
    construction.temperature = 1;
    construction.threshold = 0.5;
    l2a::make_l2a(checkpoint, construction);
    checkpoint.config.l2a->skip_logits = skip_logits_;
    checkpoint.config.l2a->need_scales = scale_.log_scales;
    l2a::set_routers(checkpoint, routers_);
    const l2a::ModelConfig whole = checkpoint.config;
    l2a::prune_layers(checkpoint, pruned_);  // sets the metadata too
    l2a::WriteOptions file;
    file.target = options_.target;
    file.threads = options_.model.threads;
    const l2a::ConvertResult result = l2a::write_gguf(checkpoint, file);
    if (options_.quiet) return;
    if (!pruned_.empty()) {
      const auto bytes = [&](const l2a::ModelConfig& config) {
        return static_cast<double>(
            l2a::cache_bytes(config, options_.model.cache_dtype(), config_.context).total());
      };
      const double before = bytes(whole), after = bytes(checkpoint.config);
      std::cerr << concat("pruned ", pruned_.size(), " of ", config_.layers,
                          " layers; KV cache at ", config_.context,
                          " tokens: ", l2a::bytes_text(after), ", ",
                          l2a::bytes_text(before - after), " less\n");
    }
    std::cerr << concat(options_.target, ": ", result.architecture, ", ", result.tensors,
                        " tensors, ", l2a::bytes_text(static_cast<double>(result.file_bytes)),
                        "\n");
  }

  void print() const {
    std::string text = "layer  routed %  effect %  captured %    AUC\n";
    for (std::size_t i = 0; i < quality_.layers.size(); ++i) {
      const l2a::LayerQuality& layer = quality_.layers[i];
      const auto number = static_cast<std::int64_t>(i);
      const bool pruned = std::find(pruned_.begin(), pruned_.end(), number) != pruned_.end();
      text += concat(std::setw(5), i, std::setw(10), percent(layer.routed), std::setw(10),
                     percent(layer.need), std::setw(12), percent(layer.captured), std::setw(7),
                     std::isnan(layer.auc) ? std::string("-")
                                           : concat(std::fixed, std::setprecision(3), layer.auc),
                     pruned ? "  pruned" : "", "\n");
    }
    text += concat("\n", l2a::need_plot(judged_), "\nAt skip ", options_.skip,
                   " the fitted routers capture ", percent(quality_.captured),
                   "% of the effect; an oracle ", percent(quality_.oracle), "%, random picks ",
                   percent(1 - options_.skip), "%.\n");
    l2a::print(text);
    if (options_.quiet) return;
    std::size_t bytes = 0;
    for (const l2a::RouterStatistics& layer : layers_) bytes += layer.bytes();
    std::cerr << concat("fitted on ", l2a::token_count(texts_.fitted), " tokens, judged on ",
                        l2a::token_count(texts_.held_out), " others; ridge ", ridge_, "; ",
                        l2a::seconds_text(seconds_), "; statistics took ",
                        l2a::bytes_text(static_cast<double>(bytes)), "\n");
  }

 private:
  // Positions below this see every key as it is.
  std::int64_t reach() const { return options_.window + options_.sinks; }

  void refuse_inputs_as_outputs() const {
    std::vector<std::string> inputs = options_.texts;
    inputs.insert(inputs.end(), options_.held_out.begin(), options_.held_out.end());
    inputs.push_back(options_.model.path);
    if (std::filesystem::path(options_.state).lexically_normal() ==
        std::filesystem::path(options_.target).lexically_normal())
      throw l2a::Error(concat(options_.target, ": is the file of --output and of --state"));
    for (const std::string& output : {options_.target, options_.state}) {
      for (const std::string& input : inputs) {
        std::error_code ignored;
        if (!output.empty() && std::filesystem::equivalent(output, input, ignored))
          throw l2a::Error(concat(output, ": is an input; the output must be another file"));
      }
    }
  }

  // What makes statistics of one fit unfit for another.
  std::vector<std::int64_t> settings() const {
    return {options_.window,
            options_.sinks,
            context_,
            config_.hidden,
            config_.layers,
            static_cast<std::int64_t>(options_.model.cache_dtype()),
            static_cast<std::int64_t>(file_->file_bytes())};
  }
  std::vector<Token> fit_tokens() const {
    std::vector<Token> all;
    for (const auto& context : texts_.fitted) all.insert(all.end(), context.begin(), context.end());
    return all;
  }

  void weigh_layers() {
    l2a::Contexts pieces = texts_.fitted;
    const std::int64_t most =
        std::clamp<std::int64_t>(l2a::token_count(pieces) / kTokensAnEffectPiece, 1, kEffectPieces);
    pieces.resize(std::min(pieces.size(), static_cast<std::size_t>(most)));
    for (std::vector<Token>& piece : pieces)
      piece.resize(std::min(piece.size(), static_cast<std::size_t>(kEffectReaches * reach())));
    const auto more = static_cast<std::uint64_t>((config_.layers + 2) * l2a::token_count(pieces));
    progress_total_ += more;
    const auto done = [&](std::int64_t tokens) {
      progress_done_ += static_cast<std::uint64_t>(tokens);
      progress_->update(progress_done_, progress_total_, "weighed");
    };
    scale_ =
        l2a::need_scale(l2a::layer_effects(options_.model, file_, {options_.window, options_.sinks},
                                           pieces, pool_, done),
                        options_.skip);
    if (!options_.state.empty())
      l2a::FitState::save(options_.state, settings(), fit_tokens(), 0, scale_, layers_);
  }

  // Tokens of a step past what the window and the sinks show them, with their needs.
  void observe(const l2a::NarrowedAttention& step) {
    const auto first = static_cast<std::size_t>(std::max<std::int64_t>(reach() - step.first, 0));
    std::vector<float> needs = l2a::attention_need(step);
    if (first >= needs.size()) return;
    needs.erase(needs.begin(), needs.begin() + static_cast<std::ptrdiff_t>(first));
    const auto layer = static_cast<std::size_t>(step.layer);
    const auto features = step.h.subspan(first * static_cast<std::size_t>(step.hidden));
    if (judging_) {
      for (std::size_t i = 0; i < candidates_.size(); ++i) {
        const std::vector<float> logits = l2a::router_logits(candidates_[i][layer], features);
        std::vector<float>& all = candidate_logits_[i][layer];
        all.insert(all.end(), logits.begin(), logits.end());
      }
      for (const float need : needs) judged_[layer].need.push_back(scale_.effect(layer, need));
    } else {
      for (float& need : needs) need = scale_.target(layer, need);
      layers_[layer].add(pool_, features, needs);
    }
  }

  void run_context(std::span<const Token> tokens, std::string_view what) {
    session_->reset();
    for (std::size_t begin = 0; begin < tokens.size(); begin += kStep) {
      const std::size_t count = std::min<std::size_t>(kStep, tokens.size() - begin);
      session_->step(tokens.subspan(begin, count), l2a::LogitsOf::none);
      progress_done_ += count;
      progress_->update(progress_done_, progress_total_, what);
    }
  }

  void measure() {
    using Clock = std::chrono::steady_clock;
    auto saved = Clock::now();
    const auto total = static_cast<std::int64_t>(texts_.fitted.size());
    while (contexts_done_ < total) {
      run_context(texts_.fitted[static_cast<std::size_t>(contexts_done_++)], "measured");
      const bool due = std::chrono::duration<double>(Clock::now() - saved).count() > kSaveEvery;
      if (!options_.state.empty() && (due || contexts_done_ == total)) {
        l2a::FitState::save(options_.state, settings(), fit_tokens(), contexts_done_, scale_,
                            layers_);
        saved = Clock::now();
      }
    }
  }

  void fit() {
    for (const double ridge : kRidges) {
      std::vector<l2a::LinearRouter> routers;
      for (const l2a::RouterStatistics& layer : layers_) routers.push_back(layer.fit(ridge));
      candidates_.push_back(std::move(routers));
    }
  }

  void judge() {
    judging_ = true;
    judged_.resize(layers_.size());
    candidate_logits_.assign(candidates_.size(), std::vector<std::vector<float>>(layers_.size()));
    for (const std::vector<Token>& context : texts_.held_out) run_context(context, "judged");
  }

  // The ridge by whose routers most need is captured, then the cut of all layers.
  void choose() {
    std::size_t best = 0;
    double most = -1;
    for (std::size_t i = 0; i < candidates_.size(); ++i) {
      take_logits(i);
      const double captured = l2a::routing_quality(judged_, options_.skip).captured;
      if (captured > most) {
        most = captured;
        best = i;
      }
    }
    take_logits(best);
    ridge_ = kRidges[best];
    routers_ = candidates_[best];
    quality_ = l2a::routing_quality(judged_, options_.skip);
    for (std::size_t i = 0; i < quality_.layers.size(); ++i) {
      if (options_.prune_below && quality_.layers[i].routed < *options_.prune_below)
        pruned_.push_back(static_cast<std::int64_t>(i));
    }
    const float cut = finite_cut();
    for (l2a::LinearRouter& router : routers_) router.bias -= cut;
    std::vector<float> logits;
    for (std::size_t i = 0; i < judged_.size(); ++i) {
      if (std::find(pruned_.begin(), pruned_.end(), static_cast<std::int64_t>(i)) != pruned_.end())
        continue;
      for (const float logit : judged_[i].logit) logits.push_back(logit - cut);
    }
    std::sort(logits.begin(), logits.end());
    for (std::size_t i = 0; i < kSkipLogits && !logits.empty(); ++i) {
      const std::size_t at = i * (logits.size() - 1) / (kSkipLogits - 1);
      skip_logits_.push_back(static_cast<double>(logits[at]));
    }
  }

  // To skip nothing or everything takes no infinite bias: no token here has a logit below the lowest, or this one.
  float finite_cut() const {
    float lowest = std::numeric_limits<float>::infinity(), highest = -lowest;
    for (const l2a::RoutedNeed& layer : judged_) {
      for (const float logit : layer.logit) {
        lowest = std::min(lowest, logit);
        highest = std::max(highest, logit);
      }
    }
    return std::clamp(quality_.cut, lowest, highest + 1);
  }

  void take_logits(std::size_t candidate) {
    for (std::size_t layer = 0; layer < judged_.size(); ++layer)
      judged_[layer].logit = candidate_logits_[candidate][layer];
  }

  const Options& options_;
  std::shared_ptr<const l2a::GgufFile> file_;
  l2a::ModelConfig config_;
  l2a::ThreadPool pool_;
  std::int64_t context_ = 0;
  l2a::FitTexts texts_;
  l2a::NeedScale scale_;  // empty until the layers are weighed
  std::vector<l2a::RouterStatistics> layers_;
  std::int64_t contexts_done_ = 0;
  std::unique_ptr<l2a::Session> session_;
  l2a::Progress* progress_ = nullptr;
  std::uint64_t progress_done_ = 0, progress_total_ = 0;
  bool judging_ = false;
  std::vector<std::vector<l2a::LinearRouter>> candidates_;         // by ridge, by layer
  std::vector<std::vector<std::vector<float>>> candidate_logits_;  // likewise, by token
  std::vector<l2a::RoutedNeed> judged_;                            // by layer
  double ridge_ = 0;
  std::vector<l2a::LinearRouter> routers_;
  l2a::RoutingQuality quality_;
  std::vector<std::int64_t> pruned_;
  std::vector<double> skip_logits_;
  double seconds_ = 0;
};

void add_options(CLI::App& app, Options& options) {
  l2a::add_model_options(app, options.model);
  app.add_option("-f,--file", options.texts, "Documents to fit to, a file each; -: standard input")
      ->required()
      ->check(l2a::not_empty())
      ->option_text("TEXT...");
  app.add_option("--held-out", options.held_out,
                 "Documents to judge by; by default every fifth of the others")
      ->check(l2a::not_empty())
      ->option_text("TEXT...");
  app.add_option("-o,--output", options.target, "GGUF file to write; replaced when it exists")
      ->required()
      ->check(l2a::not_empty())
      ->option_text("FILE.gguf");
  app.add_option("--window", options.window, "Keys that every token sees, its own included")
      ->check(CLI::Range(1, 1 << 28))
      ->option_text("W [1024]");
  app.add_option("--sinks", options.sinks, "First positions that every token sees")
      ->check(CLI::Range(0, 1 << 28))
      ->option_text("S [4]");
  app.add_option("--skip", options.skip,
                 "Share of tokens, over all layers, that see no more; programs that run the model\n"
                 "can choose another")
      ->check(l2a::share_from_0_to_1())
      ->option_text("SHARE [0.8]");
  app.add_option(
         "--prune-below", options.prune_below,
         "Take the router, and with it most of the cache, from layers that route less than\n"
         "this share of tokens")
      ->check(l2a::share_from_0_to_1())
      ->option_text("SHARE");
  app.add_option(
         "-c,--context,--ctx", options.context,
         "Tokens that are read at a time; at most what the model was trained for by default")
      ->check(CLI::Range(2, 1 << 28))
      ->option_text("N [8192]");
  app.add_option("--tokens", options.tokens,
                 "Fit to about this many only, and judge by a quarter as many more")
      ->check(CLI::PositiveNumber)
      ->option_text("N");
  app.add_option("--state", options.state,
                 "Keep what was measured here, and go on from it when it exists")
      ->check(l2a::not_empty())
      ->option_text("FILE");
  app.add_flag("-q,--quiet", options.quiet, "Only the figures");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.model.type_kv = "f16";
  return l2a::run_program(
      {kProgram, kDescription, kExamples}, argc, argv,
      [&](CLI::App& app) { add_options(app, options); },
      [&] {
        l2a::clean_up_on_signals();
        Fit fit(options);
        fit.run();
        fit.write();
        fit.print();
        return 0;
      });
}
