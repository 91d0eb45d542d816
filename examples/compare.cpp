// l2a-compare: do backends agree, and what does each take its time for?
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <iostream>

#include "convert/temporary_file.h"
#include "examples/common/comparison.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/text_input.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-compare";

constexpr const char* kDescription =
    "Runs one prompt through several backends and compares what every node computes with the "
    "first\n"
    "backend: errors by kind of op and by layer, who is routed, where the greedy texts part, and\n"
    "the time by kind of op side by side.";

constexpr const char* kExamples =
    "Errors are in units of the largest value that a node computes. They add up from layer to "
    "layer,\n"
    "since each backend goes on from its own values.\n\n"
    "Examples:\n"
    "  l2a-compare model.gguf --backends cpu,reference\n"
    "  l2a-compare model.gguf --backends cpu,reference -f book.txt --html report.html\n"
    "  l2a-compare model.gguf --backends cpu,reference --tokens 1,2,3,4 --decode 2 -n 0";

constexpr const char* kDefaultPrompt =
    "The lighthouse keeper wrote a letter every evening, although no ship had called at the island "
    "for years. He described the weather, the birds, and the light itself: 'It turns,' he wrote, "
    "'and I turn with it.' One morning there was an answer under the door. It said";

struct Options {
  std::string path, prompt, file, tokens, html, type_kv = "f32";
  std::vector<std::string> backends;
  int threads = 0;
  l2a::CpuOptions cpu;
  std::optional<l2a::PrefillPrecision> prefill;
  l2a::ComparisonOptions comparison;
  bool quiet = false;

  // What is wrong with the options together; empty when nothing is.
  std::string conflict() const {
    if (backends.size() < 2) return "--backends: at least two are needed, between commas";
    if (prefill && std::find(backends.begin(), backends.end(), "cuda") == backends.end())
      return "--prefill-precision: it is a choice of cuda's, which --backends does not name";
    const int given = (prompt.empty() ? 0 : 1) + (file.empty() ? 0 : 1) + (tokens.empty() ? 0 : 1);
    return given > 1 ? "-p, -f and --tokens exclude each other" : "";
  }
};

class Compare {
 public:
  explicit Compare(const Options& options)
      : options_(options), file_(l2a::GgufFile::open(options.path)) {
    if (l2a::TokenizerData::present(*file_)) {
      tokenizer_.emplace(l2a::open_tokenizer(*file_));
    } else if (options.tokens.empty()) {
      throw l2a::FileError(concat(options.path, ": has no tokenizer; give token ids by --tokens"));
    }
    prompt_ = read_prompt();
    const std::int64_t vocabulary = l2a::ModelConfig::from_gguf(*file_).vocabulary;
    l2a::require_in_vocabulary(prompt_, vocabulary, "the prompt");
    std::error_code ignored;
    if (!options.html.empty() && std::filesystem::equivalent(options.html, options.path, ignored))
      throw l2a::Error(concat("--html: ", options.html, " is the model itself"));
  }

  void run() {
    std::optional<l2a::TemporaryFile> page;  // that it cannot be written is better known before
    if (!options_.html.empty()) page.emplace(options_.html);
    std::vector<std::shared_ptr<l2a::Backend>> backends;
    for (const std::string& name : options_.backends) {
      l2a::BackendOptions backend{name, -1, options_.cpu, {}};
      if (name == "cuda") backend.prefill = options_.prefill;
      backends.push_back(l2a::make_backend(backend, options_.threads));
    }
    l2a::Comparison comparison = l2a::compare_backends(
        backends,
        [&](const std::shared_ptr<l2a::Backend>& backend) {
          return l2a::Model::load(file_, backend);
        },
        prompt_, options_.comparison, [&](std::string_view what) { show(what); });
    show("");
    comparison.model = std::filesystem::path(options_.path).filename().string();
    const auto words = [&](std::span<const Token> tokens) { return text_of(tokens); };
    l2a::print(l2a::comparison_text(comparison, words));
    if (!page) return;
    const std::string html = l2a::comparison_html(comparison, words);
    page->write(std::as_bytes(std::span(html)));
    page->commit();
    if (!options_.quiet) std::cerr << concat(options_.html, ": written\n");
  }

 private:
  std::vector<Token> read_prompt() const {
    if (!options_.tokens.empty()) {
      std::vector<Token> tokens = l2a::parse_tokens(options_.tokens, "--tokens");
      if (tokens.empty()) throw l2a::Error("--tokens: there are no token ids");
      return tokens;
    }
    std::string text = kDefaultPrompt;
    if (!options_.prompt.empty()) text = options_.prompt;
    if (!options_.file.empty()) text = l2a::read_text(options_.file);
    l2a::require_utf8(text, options_.file.empty() ? "--prompt" : options_.file);
    std::vector<Token> tokens = tokenizer_->encode(text);
    if (tokens.empty()) throw l2a::Error("the prompt is empty");
    return tokens;
  }

  std::string text_of(std::span<const Token> tokens) const {
    std::string text;
    if (tokenizer_) return l2a::printable(tokenizer_->decode(tokens));
    for (const Token token : tokens) text += concat(text.empty() ? "" : " ", token);
    return text;
  }

  // One line that is written over, on a terminal alone.
  void show(std::string_view what) const {
    if (!options_.quiet && ::isatty(STDERR_FILENO) == 1) std::cerr << concat("\r\x1b[K", what);
  }

  const Options& options_;
  std::shared_ptr<const l2a::GgufFile> file_;
  std::optional<l2a::Tokenizer> tokenizer_;
  std::vector<Token> prompt_;
};

void add_options(CLI::App& app, Options& options) {
  l2a::add_model_path(app, options.path);
  const std::vector<std::string> names = l2a::backend_names();
  app.add_option("--backends", options.backends, "The first is what the others are compared with")
      ->required()
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::IsMember(names))
      ->option_text(concat(CLI::detail::join(names, "|"), ",... REQUIRED"));
  app.add_option("-p,--prompt", options.prompt, "Text to run; by default a short one of our own")
      ->option_text("TEXT");
  app.add_option("-f,--file", options.file, "The same from a file; -: standard input")
      ->check(l2a::not_empty())
      ->option_text("FILE");
  app.add_option("--tokens", options.tokens, "Token ids instead of text")->option_text("1,2,3");
  app.add_option("-n,--n-gen", options.comparison.greedy, "Tokens of the greedy texts")
      ->check(CLI::Range(0, 1 << 20))
      ->option_text("N [32]");
  app.add_option("--decode", options.comparison.single,
                 "This many of the prompt's last tokens go one by one")
      ->check(CLI::Range(0, 1 << 20))
      ->option_text("M [8]");
  app.add_option("--chunk", options.comparison.chunk,
                 "Prompt tokens that go together; the memory is that of all they compute")
      ->check(CLI::Range(1, 1 << 16))
      ->option_text("N [128]");
  app.add_option("--type-kv", options.type_kv, "Type of the KV caches")
      ->check(CLI::IsMember(l2a::cache_type_names()))
      ->option_text(concat(CLI::detail::join(l2a::cache_type_names(), "|"), " [f32]"));
  app.add_option("-t,--threads", options.threads, "CPU threads; 0: as many as this process may use")
      ->check(CLI::Range(0, 1024))
      ->option_text("N [0]");
  l2a::add_cpu_options(app, options.cpu);
  l2a::add_prefill_option(app, options.prefill);
  app.add_option("--html", options.html, "Also write a page with plots; replaced when it exists")
      ->check(l2a::not_empty())
      ->option_text("FILE.html");
  app.add_flag("-q,--quiet", options.quiet, "No progress");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  return l2a::run_program(
      {kProgram, kDescription, kExamples}, argc, argv,
      [&](CLI::App& app) {
        add_options(app, options);
        l2a::refuse_conflicts(app, [&] { return options.conflict(); });
      },
      [&] {
        options.comparison.cache_dtype = l2a::dtype_from_name(options.type_kv).value();
        l2a::clean_up_on_signals();
        Compare(options).run();
        return 0;
      });
}
