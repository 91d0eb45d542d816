// l2a-needle: whether a model finds a fact in a long text, by the text's length and where the fact stands.
#include "examples/common/needle.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <nlohmann/json.hpp>

#include "convert/temporary_file.h"
#include "examples/common/figures.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/progress.h"
#include "examples/common/routing_options.h"
#include "examples/common/text_input.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-needle";

constexpr const char* kDescription =
    "Hides a fact (\"The secret number of Lisbon is 48172.\") in a long text, has the model "
    "continue\n"
    "\"The secret number of Lisbon is\" at its end, and says by length of the text and depth of "
    "the\n"
    "fact whether it does. Greedy, and without a chat template: it is to read, not to obey.";

constexpr const char* kExamples =
    "Examples:\n"
    "  l2a-needle model.gguf -f book.txt\n"
    "  l2a-needle l2a.gguf -f docs/*.txt --lengths 2048,4096 --depths 5 --skip 0.8 --svg grid.svg\n"
    "  l2a-needle l2a.gguf -f book.txt --route forced:0.2     # random routes, to compare with\n"
    "  l2a-needle model.gguf -f book.txt --trials 4 --json | jq .found\n\n"
    "The text is that of the files, one after the other; it needs the tokens of the longest "
    "length.\n"
    "The output file appears under its name only when it is complete.\n"
    "Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage, 130 interrupted.";

constexpr std::array<std::int64_t, 3> kLengths = {2048, 4096, 8192};  // by default those that fit
constexpr std::int64_t kAnswer = 12;  // tokens: a space and five digits, and room for a word before
constexpr std::int64_t kStep = 512;

struct Options {
  l2a::ModelOptions model;
  l2a::CutOptions cut;
  std::string route = "model";
  std::vector<std::string> texts;
  std::vector<std::int64_t> lengths;
  std::int64_t depths = 10, trials = 1;
  std::string svg;
  bool json = false, quiet = false;
};

class Search {
 public:
  explicit Search(const Options& options)
      : options_(options),
        file_(l2a::open_file(options.model)),
        config_(l2a::ModelConfig::from_gguf(*file_)),
        tokenizer_(l2a::open_tokenizer(*file_)) {
    choose_grid();
    refuse_inputs_as_outputs();
    for (std::vector<Token>& document :
         l2a::read_documents(options.texts, tokenizer_, config_.vocabulary).tokens)
      text_.insert(text_.end(), document.begin(), document.end());
    // That a text is too short is better known before the model reads.
    for (const std::int64_t length : grid_.lengths)
      l2a::hide(l2a::make_needle(0), text_, tokenizer_, length, 0);
    if (!options.svg.empty()) image_.emplace(options.svg);
  }

  void run() {
    l2a::SessionOptions session_options;
    session_options.context = grid_.lengths.back() + kAnswer;
    session_options.chunk = kStep;
    session_options.cache_dtype = options_.model.cache_dtype();
    session_options.router_cut = options_.cut.cut(config_, options_.model.path);
    const l2a::RouteChoice route = l2a::route_choice(options_.route);
    if (route.by == l2a::RouteChoice::By::forced) {
      l2a::require_router(config_, options_.model.path, "--route");
      session_options.forced_share = route.share;
    }
    const auto session = l2a::open_session(options_.model, file_, session_options);
    l2a::Progress progress(!options_.quiet && !options_.json, l2a::tokens_text);
    std::int64_t total = 0, done = 0;
    for (const std::int64_t length : grid_.lengths) total += length;
    total *= options_.depths * options_.trials;
    const auto show = [&] {
      progress.update(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(total),
                      concat(grid_.total(), " found"));
    };
    std::uint64_t which = 0;
    for (std::size_t l = 0; l < grid_.lengths.size(); ++l) {
      for (std::size_t d = 0; d < grid_.depths.size(); ++d) {
        for (std::int64_t trial = 0; trial < grid_.trials; ++trial) {
          const l2a::Needle needle = l2a::make_needle(which++);
          const std::int64_t before = done;
          const std::string answer = continued(
              *session, l2a::hide(needle, text_, tokenizer_, grid_.lengths[l], grid_.depths[d]),
              [&](std::int64_t read) {
                done = before + read;
                show();
              });
          if (l2a::found(needle, answer)) ++grid_.hits[l * grid_.depths.size() + d];
          routing_ += session->routing();
        }
      }
    }
    progress.clear();
    seconds_ = progress.seconds();
  }

  void print() {
    l2a::print(options_.json ? json().dump(2) + "\n" : l2a::needle_table(grid_));
    if (image_) {
      const std::string svg = l2a::needle_svg(grid_);
      image_->write(std::as_bytes(std::span(svg)));
      image_->commit();
    }
    if (options_.quiet || options_.json) return;
    const auto asked = static_cast<std::int64_t>(grid_.hits.size()) * grid_.trials;
    std::string routed;
    if (routing_.has_router())
      routed = concat("; ", std::llround(100 * routing_.share()), "% of tokens routed");
    std::cerr << concat(grid_.total(), " of ", asked, " facts found", routed, "; ",
                        l2a::seconds_text(seconds_), "\n");
    if (image_) std::cerr << concat(options_.svg, ": written\n");
  }

 private:
  void choose_grid() {
    grid_.lengths = options_.lengths;
    grid_.trained = config_.context;
    if (grid_.lengths.empty()) {
      for (const std::int64_t length : kLengths) {
        if (length <= config_.context) grid_.lengths.push_back(length);
      }
      if (grid_.lengths.empty()) grid_.lengths.push_back(config_.context);
    }
    std::sort(grid_.lengths.begin(), grid_.lengths.end());
    for (std::int64_t i = 0; i < options_.depths; ++i) {
      grid_.depths.push_back(options_.depths == 1 ? 0.5
                                                  : static_cast<double>(i) /
                                                        static_cast<double>(options_.depths - 1));
    }
    grid_.trials = options_.trials;
    grid_.hits.assign(grid_.lengths.size() * grid_.depths.size(), 0);
    grid_.model = title();
    if (grid_.lengths.back() > config_.context && !options_.quiet) {
      l2a::print_error(kProgram,
                       concat("warning: ", grid_.lengths.back(), " tokens are beyond the ",
                              config_.context, " that the model was trained for"));
    }
  }

  std::string title() const {
    std::string title = std::filesystem::path(options_.model.path).filename().string();
    if (options_.cut.skip) title += concat(", --skip ", *options_.cut.skip);
    if (options_.cut.threshold) title += concat(", --threshold ", *options_.cut.threshold);
    if (options_.route != "model") title += concat(", --route ", options_.route);
    return title;
  }

  void refuse_inputs_as_outputs() const {
    std::vector<std::string> inputs = options_.texts;
    inputs.push_back(options_.model.path);
    for (const std::string& input : inputs) {
      std::error_code ignored;
      if (std::filesystem::equivalent(options_.svg, input, ignored))
        throw l2a::Error(concat("--svg: ", options_.svg, " is an input"));
    }
  }

  template <class Read>
  std::string continued(l2a::Session& session, std::span<const Token> prompt, Read read) {
    session.reset();
    l2a::Evaluation step = session.prefill(prompt, [&](std::int64_t done) {
      read(done);
      return true;
    });
    std::vector<Token> answer;
    while (true) {
      const Token next = step.most_likely().front();
      if (tokenizer_.ends_generation(next)) break;
      answer.push_back(next);
      if (static_cast<std::int64_t>(answer.size()) == kAnswer) break;
      step = session.decode(next);
    }
    return tokenizer_.decode(answer);
  }

  nlohmann::ordered_json json() const {
    const auto asked = static_cast<std::int64_t>(grid_.hits.size()) * grid_.trials;
    nlohmann::ordered_json json = {
        {"model", std::filesystem::path(options_.model.path).filename().string()},
        {"lengths", grid_.lengths},
        {"depths", grid_.depths},
        {"trials", grid_.trials},
        {"trained_for", grid_.trained},
        {"found", grid_.total()},
        {"asked", asked},
    };
    json["hits"] = nlohmann::ordered_json::array();
    for (std::size_t l = 0; l < grid_.lengths.size(); ++l) {
      nlohmann::ordered_json row;
      for (std::size_t d = 0; d < grid_.depths.size(); ++d) row.push_back(grid_.hits_of(l, d));
      json["hits"].push_back(row);
    }
    if (routing_.has_router()) json["routed"] = l2a::routing_json(routing_);
    return json;
  }

  const Options& options_;
  std::shared_ptr<const l2a::GgufFile> file_;
  l2a::ModelConfig config_;
  l2a::Tokenizer tokenizer_;
  std::vector<Token> text_;
  l2a::NeedleGrid grid_;
  l2a::RoutingStats routing_;
  std::optional<l2a::TemporaryFile> image_;
  double seconds_ = 0;
};

void add_options(CLI::App& app, Options& options) {
  l2a::add_model_options(app, options.model);
  l2a::add_cut_options(app, options.cut);
  l2a::add_route_option(
      app, options.route, false,
      "Of L2A models: the tokens that the model routes, or a pseudo-random share");
  app.add_option("-f,--file", options.texts, "Text to hide the fact in; -: standard input")
      ->required()
      ->check(l2a::not_empty())
      ->option_text("TEXT...");
  app.add_option("--lengths", options.lengths,
                 "Tokens of text, fact and question; by default those of 2048, 4096 and 8192 that\n"
                 "the model was trained for")
      ->delimiter(',')
      ->check(CLI::Range(64, 1 << 28))
      ->option_text("N,...");
  app.add_option("--depths", options.depths, "Places for the fact, evenly from start to end")
      ->check(CLI::Range(1, 1000))
      ->option_text("N [10]");
  app.add_option("--trials", options.trials, "Facts at each place")
      ->check(CLI::Range(1, 1000))
      ->option_text("N [1]");
  app.add_option("--svg", options.svg, "Also write the grid as an image; replaced when it exists")
      ->check(l2a::not_empty())
      ->option_text("FILE.svg");
  app.add_flag("--json", options.json, "Figures as one JSON object on standard output");
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
        Search search(options);
        search.run();
        search.print();
        return 0;
      });
}
