// l2a-run: a model answers, in text.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>

#include "examples/common/generator.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/progress.h"
#include "models/chat.h"
#include "models/mapped_file.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-run";
constexpr int kInterrupted = 130;

constexpr const char* kDescription =
    "Runs a model: answers a prompt, or chats. Text goes to standard output as it is made, "
    "figures\n"
    "and progress to standard error.";

constexpr const char* kExamples =
    "A prompt is asked as one turn of a chat where the model has a chat template; --raw continues "
    "it\n"
    "as plain text. In a chat, Ctrl-C stops an answer, /clear forgets the conversation, Ctrl-D "
    "ends.\n\n"
    "Examples:\n"
    "  l2a-run model.gguf -p 'Why is the sky blue?'\n"
    "  l2a-run model.gguf --raw -p 'Once upon a time' -n 200 --temp 0.9 --seed 7\n"
    "  l2a-run model.gguf -f book.txt -p 'Who is the murderer?'   # the file, then the question\n"
    "  l2a-run model.gguf --chat --system 'Be brief.'\n"
    "  l2a-run model.gguf -p Hi --json | jq .decode_tokens_per_second";

struct Options {
  l2a::ModelOptions model;
  std::string prompt, file, system;
  bool chat = false, raw = false, json = false, quiet = false;
  bool think = false, no_think = false;
  std::int64_t most = 512, context = 0, chunk = 512;
  l2a::SamplerOptions sampler;
  std::optional<std::uint64_t> seed;
};

// Ctrl-C: the first stops the generation, a second one the program.

volatile sig_atomic_t interrupts = 0;

void count_interrupt(int /*signal*/) {
  interrupts = interrupts + 1;
  if (interrupts > 1) ::_exit(kInterrupted);
}

void stop_generation_on_interrupt() {
  struct sigaction action {};
  action.sa_handler = count_interrupt;  // without SA_RESTART, so that reading a line ends too
  ::sigaction(SIGINT, &action, nullptr);
}

bool colour_on(int descriptor) {
  const char* no_colour = std::getenv("NO_COLOR");
  return ::isatty(descriptor) == 1 && (no_colour == nullptr || *no_colour == '\0');
}

void print(const std::string& text) {
  if (!(std::cout << text << std::flush)) throw l2a::Error("standard output: cannot write");
}

class Program {
 public:
  explicit Program(const Options& options) : options_(options) {
    const auto start = std::chrono::steady_clock::now();
    open_ = l2a::open_model(options.model);
    tokenizer_ = std::make_unique<l2a::Tokenizer>(l2a::TokenizerData::from_gguf(*open_.file));
    load_seconds_ = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    const std::string& chat_template = tokenizer_->data().chat_template;
    if (!options.raw && !chat_template.empty())
      format_ = l2a::ChatFormat::from_template(chat_template);
    if (options.chat && !format_)
      throw l2a::Error("this model has no chat template; use --raw with -p");
  }

  int run() { return options_.chat ? chat() : once(); }

 private:
  // ---- prompts

  std::string user_text() const {
    std::string text;
    if (!options_.file.empty()) {
      const auto file = l2a::MappedFile::open(options_.file);
      text.assign(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
      if (!options_.prompt.empty()) text += "\n\n";
    }
    return text + options_.prompt;
  }

  std::vector<Token> raw_prompt(const std::string& text) const {
    const l2a::TokenizerData& data = tokenizer_->data();
    std::vector<Token> tokens;
    if (data.add_bos && data.bos) tokens.push_back(*data.bos);
    const std::vector<Token> encoded = tokenizer_->encode(text);
    tokens.insert(tokens.end(), encoded.begin(), encoded.end());
    return tokens;
  }

  std::vector<Token> chat_prompt(std::span<const l2a::ChatMessage> messages) const {
    l2a::ChatOptions chat;
    if (options_.think) chat.enable_thinking = true;
    if (options_.no_think) chat.enable_thinking = false;
    return l2a::encode_chat(*tokenizer_, *format_, messages, chat);
  }

  std::vector<l2a::ChatMessage> opening() const {
    if (options_.system.empty()) return {};
    return {message("system", options_.system)};
  }

  static l2a::ChatMessage message(std::string role, std::string content) {
    return {std::move(role), std::move(content), std::nullopt, {}};
  }

  // ---- running

  // Without --ctx: what the prompt and the answer need, but not beyond what the model was trained for.
  void start_session(std::int64_t wanted) {
    constexpr std::int64_t kStep = 256;
    const std::int64_t trained = open_.model->config().context;
    l2a::SessionOptions session;
    session.context = options_.context > 0
                          ? options_.context
                          : std::min((wanted + kStep - 1) / kStep * kStep, trained);
    session.chunk = options_.chunk;
    session.cache_dtype = open_.cache_dtype;
    if (session.context > trained && !options_.quiet) {
      l2a::print_error(kProgram, concat("warning: --ctx ", session.context, " is beyond the ",
                                        trained, " tokens that the model was trained for"));
    }
    session_ = std::make_unique<l2a::Session>(
        open_.model, open_.backend, std::vector<std::shared_ptr<l2a::Backend>>{}, session);
    l2a::SamplerOptions sampler = options_.sampler;
    sampler.seed = options_.seed ? *options_.seed : std::random_device{}();
    generator_ = std::make_unique<l2a::Generator>(*session_, *tokenizer_, sampler);
  }

  l2a::Generation answer(std::span<const Token> prompt) {
    l2a::Progress progress(!options_.quiet && !options_.json, l2a::tokens_text);
    l2a::GenerationHooks hooks;
    hooks.prefilled = [&](std::int64_t done, std::int64_t total) {
      if (total > options_.chunk) {
        progress.update(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(total),
                        "prompt");
      }
      if (done == total) progress.clear();
    };
    hooks.text = [&](const std::string& text) {
      if (!options_.json) print(text);
    };
    hooks.interrupted = [] { return interrupts > 0; };
    return generator_->answer(prompt, options_.most, hooks);
  }

  l2a::Figures figures() const {
    l2a::Figures figures = generator_->figures();
    figures.model = std::filesystem::path(options_.model.path).filename().string();
    figures.architecture = open_.model->config().architecture;
    figures.backend = std::string(open_.backend->name());
    figures.load_seconds = load_seconds_;
    return figures;
  }

  int once() {
    const std::string text = user_text();
    std::vector<Token> prompt;
    if (format_) {
      std::vector<l2a::ChatMessage> messages = opening();
      messages.push_back(message("user", text));
      prompt = chat_prompt(messages);
    } else {
      prompt = raw_prompt(text);
    }
    start_session(static_cast<std::int64_t>(prompt.size()) + options_.most);
    stop_generation_on_interrupt();
    const l2a::Generation generation = answer(prompt);
    if (options_.json) {
      nlohmann::ordered_json json = l2a::figures_json(figures());
      json["stopped_by"] = l2a::stop_reason_name(generation.reason);
      json["text"] = generation.text;
      print(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    } else {
      print("\n");
      if (!options_.quiet)
        std::cerr << "\n" << l2a::figures_text(figures(), colour_on(STDERR_FILENO));
    }
    return generation.reason == l2a::StopReason::interrupted ? kInterrupted : 0;
  }

  int chat() {
    constexpr std::int64_t kChatContext = 8192;
    start_session(kChatContext);
    stop_generation_on_interrupt();
    const bool colour = colour_on(STDOUT_FILENO);
    std::vector<l2a::ChatMessage> messages = opening();
    std::string first = user_text();
    while (true) {
      std::string line = std::exchange(first, "");
      if (line.empty()) {
        if (::isatty(STDIN_FILENO) == 1) print(colour ? "\x1b[1m> \x1b[0m" : "> ");
        if (!std::getline(std::cin, line)) break;
      }
      if (line.empty()) continue;
      if (line == "/clear") {
        messages = opening();
        continue;
      }
      if (line == "/exit") break;
      messages.push_back(message("user", line));
      const l2a::Generation generation = answer(chat_prompt(messages));
      interrupts = 0;
      messages.push_back(message("assistant", generation.text));
      print("\n");
      if (!options_.quiet)
        std::cerr << l2a::figures_text(figures(), colour_on(STDERR_FILENO)) << "\n";
      if (generation.reason == l2a::StopReason::context) {
        l2a::print_error(kProgram,
                         concat("the context of ", session_->context(),
                                " tokens is full: /clear, or start again with a larger --ctx"));
      }
    }
    if (::isatty(STDIN_FILENO) == 1) print("\n");
    return 0;
  }

  const Options& options_;
  l2a::OpenModel open_;
  std::unique_ptr<l2a::Tokenizer> tokenizer_;
  std::optional<l2a::ChatFormat> format_;
  std::unique_ptr<l2a::Session> session_;
  std::unique_ptr<l2a::Generator> generator_;
  double load_seconds_ = 0;
};

void add_options(CLI::App& app, Options& options) {
  l2a::add_model_options(app, options.model);
  app.add_option("-p,--prompt", options.prompt, "What to ask")->option_text("TEXT");
  app.add_option("-f,--file", options.file, "Text to put before the prompt")->option_text("FILE");
  app.add_flag("--chat", options.chat, "Talk, line by line from standard input");
  app.add_option("--system", options.system, "System prompt of the chat")->option_text("TEXT");
  app.add_flag("--raw", options.raw, "Continue the prompt as it is, without the chat template");
  auto* think =
      app.add_flag("--think", options.think, "Let the model think first, where it has that switch");
  app.add_flag("--no-think", options.no_think, "Have it answer at once")->excludes(think);
  app.add_option("-n,--tokens", options.most, "Most tokens of an answer")
      ->check(CLI::Range(1, 1 << 28))
      ->option_text("N [512]");
  app.add_option("-c,--ctx", options.context,
                 "Context in tokens; by default what is needed, in a chat 8192")
      ->check(CLI::Range(1, 1 << 28))
      ->option_text("N");
  app.add_option("--chunk", options.chunk, "Prompt tokens that go through the model together")
      ->check(CLI::Range(1, 1 << 20))
      ->option_text("N [512]");
  l2a::SamplerOptions& sampler = options.sampler;
  app.add_option("--temp", sampler.temperature, "Temperature; 0 always takes the likeliest token")
      ->option_text("T [0.8]");
  app.add_option("--top-k", sampler.top_k, "Only the K likeliest; 0: all")->option_text("K [40]");
  app.add_option("--top-p", sampler.top_p, "Only the likeliest that make up this share")
      ->option_text("P [0.95]");
  app.add_option("--min-p", sampler.min_p,
                 "Only those at least this fraction as likely as the first")
      ->option_text("P [0.05]");
  app.add_option("--repeat-penalty", sampler.repetition_penalty,
                 "Makes tokens of the text less likely; 1: off")
      ->option_text("R [1]");
  app.add_option("--repeat-window", sampler.repetition_window, "Tokens that the penalty looks back")
      ->option_text("N [64]");
  app.add_option("--seed", options.seed, "Of the random choices; by default another one each time")
      ->option_text("S");
  app.add_flag("--json", options.json, "Text and figures as one JSON object on standard output");
  app.add_flag("-q,--quiet", options.quiet, "Only the text");
}

}  // namespace

int main(int argc, char** argv) {
  return l2a::run_program(kProgram, [&] {
    Options options;
    options.model.type_kv = "f16";
    CLI::App app(kDescription, kProgram);
    app.footer(kExamples);
    app.set_version_flag("--version", concat(kProgram, " ", L2A_VERSION));
    add_options(app, options);
    if (const auto code = l2a::parse_arguments(kProgram, app, argc, argv)) return *code;
    if (!options.chat && options.prompt.empty() && options.file.empty()) {
      l2a::print_error(kProgram,
                       "a prompt is needed: -p TEXT, -f FILE or --chat (see l2a-run --help)");
      return 2;
    }
    if (options.chat && (options.json || options.raw)) {
      l2a::print_error(kProgram, "--chat goes with neither --json nor --raw (see l2a-run --help)");
      return 2;
    }
    return Program(options).run();
  });
}
