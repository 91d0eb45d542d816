// l2a-perplexity: how well a model predicts a text, and how far that is from another model.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iomanip>
#include <iostream>

#include "convert/imatrix.h"
#include "convert/route_stats.h"
#include "examples/common/evaluation.h"
#include "examples/common/figures.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/progress.h"
#include "examples/common/routing_options.h"
#include "examples/common/text_input.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-perplexity";

constexpr const char* kDescription =
    "Says how well a model predicts a text: its perplexity, by chunks of which the second half is\n"
    "scored, as llama.cpp's perplexity does. Lower is better; only figures of the same text, "
    "tokenizer\n"
    "and context compare.";

constexpr const char* kExamples =
    "Examples:\n"
    "  l2a-perplexity model.gguf -f wiki.txt\n"
    "  l2a-perplexity f16.gguf -f wiki.txt --save-logits base.safetensors   # what q4_k_m loses:\n"
    "  l2a-perplexity q4_k_m.gguf -f wiki.txt --kl base.safetensors\n"
    "  l2a-perplexity f16.gguf -f wiki.txt --imatrix imatrix.gguf           # better small files:\n"
    "  l2a-convert f16.gguf -o q4_k_m.gguf --type q4_k_m --imatrix imatrix.gguf\n"
    "  l2a-perplexity l2a.gguf -f wiki.txt --route-stats routes.json        # layers to prune:\n"
    "  l2a-convert l2a.gguf -o pruned.gguf --prune-below 0.02 --stats routes.json\n\n"
    "Saved logits take 2 bytes for each scored token and token of the vocabulary: 25 MB a chunk "
    "of\n"
    "512 for a vocabulary of 49152. Output files appear under their names only when they are "
    "complete.\n"
    "Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage, 130 interrupted.";

constexpr std::int64_t kDefaultContext = 512;
constexpr std::int64_t kStep = 512;
// With every matmul's input kept, a step of a large model would take gigabytes.
constexpr std::int64_t kObservedStep = 128;

struct Options {
  l2a::ModelOptions model;
  std::vector<std::string> texts;
  std::string tokens;
  std::int64_t context = 0, chunks = 0;
  std::optional<std::int64_t> from;
  std::string route = "model";
  l2a::CutOptions cut;
  std::string save_logits, kl, route_stats, imatrix;
  bool json = false, quiet = false;

  std::string source() const { return texts.empty() ? tokens : CLI::detail::join(texts, " "); }
};

// An output that is an input would be gone before it is read, or after.
void refuse_inputs_as_outputs(const Options& options) {
  std::vector<std::string> inputs = options.texts;
  inputs.insert(inputs.end(), {options.model.path, options.tokens, options.kl});
  const std::vector<std::pair<const char*, std::string>> outputs = {
      {"--save-logits", options.save_logits},
      {"--imatrix", options.imatrix},
      {"--route-stats", options.route_stats}};
  const auto same = [](const std::string& a, const std::string& b) {
    std::error_code ignored;
    return !a.empty() && !b.empty() &&
           (std::filesystem::equivalent(a, b, ignored) ||
            std::filesystem::absolute(a).lexically_normal() ==
                std::filesystem::absolute(b).lexically_normal());
  };
  for (auto output = outputs.begin(); output != outputs.end(); ++output) {
    for (const std::string& input : inputs) {
      if (same(output->second, input))
        throw l2a::Error(concat(output->first, ": ", output->second, " is an input"));
    }
    for (auto other = outputs.begin(); other != output; ++other) {
      if (same(output->second, other->second)) {
        throw l2a::Error(
            concat(output->first, ": ", output->second, " is the file of ", other->first, " too"));
      }
    }
  }
}

std::string fixed(double value, int digits) {
  return concat(std::fixed, std::setprecision(digits), value);
}

std::string with_error(double value, double error, int digits) {
  return concat(fixed(value, digits), " ± ", fixed(error, digits));
}

class Evaluation {
 public:
  explicit Evaluation(const Options& options)
      : options_(options),
        file_(l2a::open_file(options.model)),
        config_(l2a::ModelConfig::from_gguf(*file_)),
        pool_(options.model.threads),
        scorer_(pool_, config_.vocabulary) {
    if (!options.route_stats.empty())
      l2a::require_router(config_, options.model.path, "--route-stats");
    cut_ = options.cut.cut(config_, options.model.path);
    route_ = l2a::route_choice(options.route);
    if (route_.by != l2a::RouteChoice::By::model &&
        (!config_.l2a || config_.l2a->routed_layers() == 0))
      throw l2a::Error(concat("--route: ", options.model.path, " has no layer with a router"));
    read_chunks();
    compare_to_saved();
    open_outputs();
  }

  void run() {
    l2a::SessionOptions session_options;
    session_options.context = chunks_.context;
    session_options.chunk = imatrix_ ? kObservedStep : kStep;
    session_options.cache_dtype = options_.model.cache_dtype();
    if (imatrix_) {
      session_options.observe_matmul = [&](const l2a::MatmulOperand& operand) {
        imatrix_->add(operand.weights, operand.columns, operand.values);
      };
    }
    session_options.router_cut = cut_;
    std::optional<l2a::Oracle> oracle;
    if (route_.by == l2a::RouteChoice::By::forced) session_options.forced_share = route_.share;
    if (route_.by == l2a::RouteChoice::By::oracle) {
      oracle.emplace(options_.model, file_, session_options, route_.share);
      session_options.forced_routes = [&](std::int64_t layer, std::int64_t position) {
        return oracle->routes(layer, position);
      };
    }
    const auto session =
        l2a::open_session(options_.model, file_, session_options, l2a::LogitsOf::all);
    backend_ = session->backend().name();
    // Without units, so that the estimate fits a terminal of 80 columns.
    l2a::Progress progress(!options_.quiet && !options_.json,
                           [](double tokens) { return concat(std::llround(tokens)); });
    const auto total = static_cast<std::uint64_t>(chunks_.tokens.size());
    std::uint64_t done = 0;
    progress.update(0, total, "tokens");
    for (std::int64_t i = 0; i < chunks_.count; ++i) {
      if (oracle) oracle->read(chunks_.chunk(i));
      l2a::RoutingStats before;  // of the tokens that are not scored
      l2a::run_chunk(
          *session, chunks_.chunk(i), chunks_.from, session_options.chunk,
          [&](const l2a::ScoredStep& step) { scorer_.add(step); },
          [&](std::int64_t tokens) {
            done += static_cast<std::uint64_t>(tokens);
            if (session->position() <= chunks_.from) before = session->routing();
            const bool begun = scorer_.loss().count() > 0;
            progress.update(done, total,
                            begun ? concat("perplexity ", fixed(perplexity(), 2)) : "tokens");
          });
      routing_ += session->routing();
      scored_routing_ += l2a::RoutingStats::between(before, session->routing());
    }
    progress.clear();
    seconds_ = progress.seconds();
    if (logits_) logits_->finish();
    if (imatrix_) imatrix_->finish();
    if (!options_.route_stats.empty())
      l2a::write_route_stats(options_.route_stats, config_, routing_);
  }

  void print() const {
    l2a::print(options_.json ? json().dump(2, ' ', false, kReplace) + "\n" : text());
    if (options_.json || options_.quiet) return;
    std::cerr << concat(chunks_.count, " chunks of ", chunks_.context, " tokens, ",
                        scorer_.loss().count(), " tokens scored, ", fixed(rate(), 1), " tokens/s, ",
                        l2a::seconds_text(seconds_), "\n");
  }

 private:
  static constexpr auto kReplace = nlohmann::ordered_json::error_handler_t::replace;

  void read_chunks() {
    l2a::Documents documents;
    if (!options_.texts.empty()) {
      documents =
          l2a::read_documents(options_.texts, l2a::open_tokenizer(*file_), config_.vocabulary);
    } else {
      l2a::TokenInput input = l2a::read_tokens(options_.tokens);
      l2a::require_in_vocabulary(input.tokens, config_.vocabulary, input.where);
      documents.tokens.push_back(std::move(input.tokens));
    }
    const std::int64_t context =
        options_.context > 0 ? options_.context : std::min(kDefaultContext, config_.context);
    if (context > config_.context && !options_.quiet) {
      l2a::print_error(kProgram, concat("warning: --context ", context, " is beyond the ",
                                        config_.context, " tokens that the model was trained for"));
    }
    chunks_ = l2a::TextChunks::cut(documents.tokens, context, options_.chunks, documents.bos);
    if (options_.from) {
      if (*options_.from > context - 2)
        throw l2a::Error(concat("--from ", *options_.from, ": a chunk of ", context,
                                " tokens scores none from there on"));
      chunks_.from = *options_.from;
    }
  }

  void compare_to_saved() {
    if (options_.kl.empty()) return;
    saved_ = l2a::SavedLogits::open(options_.kl);
    const auto refuse = [&](const char* what, std::int64_t theirs, std::int64_t ours) {
      throw l2a::FileError(
          concat(options_.kl, ": was saved with ", what, " ", theirs, "; here it is ", ours));
    };
    const std::int64_t vocabulary = config_.vocabulary;
    if (saved_->vocabulary() != vocabulary)
      refuse("a vocabulary of", saved_->vocabulary(), vocabulary);
    if (saved_->context() != chunks_.context)
      refuse("--context", saved_->context(), chunks_.context);
    if (saved_->from() != chunks_.from) refuse("--from", saved_->from(), chunks_.from);
    // More of the text than was saved cannot be compared, less can.
    if (options_.chunks == 0 && saved_->chunks() < chunks_.count) keep(saved_->chunks());
    const std::vector<Token> theirs = saved_->tokens();
    const auto [ours, their] =
        std::mismatch(chunks_.tokens.begin(), chunks_.tokens.end(), theirs.begin(), theirs.end());
    if (ours != chunks_.tokens.end() && their != theirs.end()) {
      throw l2a::FileError(concat(options_.kl, ": was saved with another text or tokenizer: token ",
                                  ours - chunks_.tokens.begin(), " is ", *their, " there and ",
                                  *ours, " here"));
    }
    if (saved_->chunks() < chunks_.count || (options_.chunks == 0 && their != theirs.end()))
      refuse("chunks in number", saved_->chunks(), chunks_.count);
    scorer_.compare_with(&*saved_);
  }

  void keep(std::int64_t count) {
    chunks_.count = count;
    chunks_.tokens.resize(static_cast<std::size_t>(count * chunks_.context));
  }

  // Before the work, so that a folder that cannot be written to is known at once.
  void open_outputs() {
    if (!options_.save_logits.empty()) {
      logits_.emplace(options_.save_logits, chunks_.tokens, chunks_.context, chunks_.from,
                      config_.vocabulary);
      scorer_.save_to(&*logits_);
    }
    if (!options_.imatrix.empty()) {
      imatrix_.emplace(options_.imatrix, options_.source(),
                       static_cast<std::uint32_t>(chunks_.count),
                       static_cast<std::uint32_t>(chunks_.context));
    }
  }

  double perplexity() const { return std::exp(scorer_.loss().mean()); }
  double perplexity_error() const { return perplexity() * scorer_.loss().standard_error(); }
  std::string perplexity_text() const { return with_error(perplexity(), perplexity_error(), 4); }
  double ratio() const { return std::exp(scorer_.divergence().loss_increase.mean()); }
  double ratio_error() const {
    return ratio() * scorer_.divergence().loss_increase.standard_error();
  }
  double rate() const {
    return seconds_ > 0 ? static_cast<double>(chunks_.tokens.size()) / seconds_ : 0;
  }

  std::string text() const {
    std::string text = concat("perplexity     ", perplexity_text(), "\n");
    if (saved_) {
      const l2a::Divergence& divergence = scorer_.divergence();
      const auto& kl = divergence.kl;
      text += concat("saved          ", fixed(std::exp(divergence.saved_loss.mean()), 4),
                     "\nratio          ", with_error(ratio(), ratio_error(), 5),
                     "\nKL divergence  ", with_error(kl.mean(), kl.standard_error(), 6),
                     "  median ", fixed(divergence.percentile(0.5), 6), ", 99% ",
                     fixed(divergence.percentile(0.99), 6), ", largest ",
                     fixed(divergence.percentile(1), 6), "\nsame top token ",
                     with_error(100 * divergence.same_top.mean(),
                                100 * divergence.same_top.standard_error(), 2),
                     "%\n");
    }
    if (routing_.has_router()) {
      text += concat("routed         ", fixed(100 * scored_routing_.share(), 2),
                     "% of the tokens from ", chunks_.from, " on; by layer");
      for (const std::int64_t routed : scored_routing_.routed) {
        text += routed < 0 ? " ·"
                           : concat(" ", fixed(100 * static_cast<double>(routed) /
                                                   static_cast<double>(scored_routing_.tokens),
                                               1));
      }
      text += "\n";
    }
    return text;
  }

  nlohmann::ordered_json json() const {
    nlohmann::ordered_json json = {
        {"model", std::filesystem::path(options_.model.path).filename().string()},
        {"architecture", config_.architecture},
        {"backend", backend_},
        {"text", options_.source()},
        {"context", chunks_.context},
        {"from", chunks_.from},
        {"chunks", chunks_.count},
        {"scored_tokens", scorer_.loss().count()},
        {"perplexity", perplexity()},
        {"perplexity_error", perplexity_error()},
        {"loss", scorer_.loss().mean()},
        {"loss_error", scorer_.loss().standard_error()},
        {"tokens_per_second", rate()},
    };
    if (saved_) {
      const l2a::Divergence& divergence = scorer_.divergence();
      json["saved_perplexity"] = std::exp(divergence.saved_loss.mean());
      json["ratio"] = ratio();
      json["ratio_error"] = ratio_error();
      json["kl"] = {{"mean", divergence.kl.mean()},
                    {"error", divergence.kl.standard_error()},
                    {"median", divergence.percentile(0.5)},
                    {"p99", divergence.percentile(0.99)},
                    {"largest", divergence.percentile(1)}};
      json["same_top"] = divergence.same_top.mean();
      json["same_top_error"] = divergence.same_top.standard_error();
    }
    if (routing_.has_router()) json["routed"] = l2a::routing_json(scored_routing_);
    return json;
  }

  const Options& options_;
  std::shared_ptr<const l2a::GgufFile> file_;
  l2a::ModelConfig config_;
  std::string backend_;
  l2a::ThreadPool pool_;
  l2a::Scorer scorer_;
  l2a::TextChunks chunks_;
  std::optional<l2a::SavedLogits> saved_;
  std::optional<l2a::SavedLogitsWriter> logits_;
  std::optional<l2a::ImatrixWriter> imatrix_;
  std::optional<float> cut_;
  l2a::RouteChoice route_;
  l2a::RoutingStats routing_, scored_routing_;  // of all tokens; of those from the first scored on
  double seconds_ = 0;
};

void add_options(CLI::App& app, Options& options) {
  l2a::add_model_options(app, options.model);
  auto* text = app.add_option("-f,--file", options.texts,
                              "Text to predict, or several that know nothing of each other;\n"
                              "-: standard input")
                   ->check(l2a::not_empty())
                   ->option_text("TEXT...");
  app.add_option("--tokens", options.tokens,
                 "Token ids instead of a text, or a file with them; taken as they are, without BOS")
      ->check(l2a::not_empty())
      ->excludes(text)
      ->option_text("1,2,3|FILE");
  app.add_option("-c,--context,--ctx", options.context,
                 "Tokens of a chunk; at most what the model was trained for by default")
      ->check(CLI::Range(3, 1 << 28))
      ->option_text("N [512]");
  app.add_option("--chunks", options.chunks, "Only this many from the start")
      ->check(CLI::PositiveNumber)
      ->option_text("N");
  app.add_option("--from", options.from,
                 "First position of a chunk that is scored; half the context by default")
      ->check(CLI::NonNegativeNumber)
      ->option_text("N");
  l2a::add_cut_options(app, options.cut);
  l2a::add_route_option(
      app, options.route, true,
      "Of L2A models: the tokens that the model routes, a pseudo-random share of them,\n"
      "or the share whose long reads change most (widen only)");
  app.add_option("--save-logits", options.save_logits, "Write what was predicted, for --kl")
      ->check(l2a::not_empty())
      ->option_text("F.safetensors");
  app.add_option("--kl", options.kl,
                 "Compare with what another model's --save-logits wrote of the same text")
      ->check(l2a::not_empty())
      ->option_text("F.safetensors");
  app.add_option("--imatrix", options.imatrix,
                 "Write the mean squares of every matrix's inputs, for l2a-convert --imatrix\n"
                 "and llama-quantize --imatrix")
      ->check(l2a::not_empty())
      ->option_text("F.gguf");
  l2a::add_route_stats_option(app, options.route_stats);
  app.add_flag("--json", options.json, "Figures as one JSON object on standard output");
  app.add_flag("-q,--quiet", options.quiet, "Only the figures");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.model.type_kv = "f16";
  return l2a::run_program(
      {kProgram, kDescription, kExamples}, argc, argv,
      [&](CLI::App& app) {
        add_options(app, options);
        l2a::refuse_conflicts(app, [&] {
          return options.source().empty() ? "a text is needed: -f FILE, or --tokens" : "";
        });
      },
      [&] {
        l2a::clean_up_on_signals();
        refuse_inputs_as_outputs(options);
        Evaluation evaluation(options);
        evaluation.run();
        evaluation.print();
        return 0;
      });
}
