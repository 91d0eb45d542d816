// l2a-run: a model answers, in text.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <limits>
#include <random>

#include "convert/route_stats.h"
#include "convert/temporary_file.h"
#include "examples/common/generator.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/progress.h"
#include "examples/common/routing_options.h"
#include "examples/common/routing_view.h"
#include "examples/common/text_input.h"
#include "graph/stopwatch.h"
#include "models/chat.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-run";
constexpr int kInterrupted = 130;

constexpr const char* kDescription =
    "Runs a model: answers a prompt, or chats. Text goes to standard output as it is made,\n"
    "figures and progress to standard error.";

constexpr const char* kExamples =
    "A prompt is asked as one turn of a chat where the model has a chat template; --raw continues\n"
    "it as plain text. In a chat, Ctrl-C stops an answer, /clear forgets the conversation, and\n"
    "/exit or Ctrl-D ends it; lines may also come from a pipe.\n\n"
    "Examples:\n"
    "  l2a-run model.gguf -p 'Why is the sky blue?'\n"
    "  l2a-run model.gguf --raw -p 'Once upon a time' -n 200 --temp 0.9 --seed 7\n"
    "  l2a-run model.gguf -f book.txt -p 'Who is the murderer?'   # the file, then the question\n"
    "  pdftotext paper.pdf - | l2a-run model.gguf -f - -p 'Sum this up.' --ctx 65536\n"
    "  l2a-run model.gguf --chat --system 'Be brief.'\n"
    "  l2a-run model.gguf -p Hi --json | jq .decode_tokens_per_second\n"
    "  l2a-run l2a.gguf -f book.txt -p 'Who is the murderer?' --show-routing   # when it looks "
    "back\n\n"
    "Colours are for terminals; NO_COLOR=1 turns them off.\n"
    "Exit codes: 0 done, 1 failed (one line says why), 2 wrong usage, 130 interrupted.";

struct Options {
  l2a::ModelOptions model;
  l2a::CutOptions cut;
  std::string prompt, file, system, route_stats, routing_html;
  bool chat = false, raw = false, json = false, quiet = false;
  bool think = false, no_think = false, ops = false, show_routing = false;
  std::int64_t most = 512, context = 0, chunk = 512;
  l2a::SamplerOptions sampler;
  std::optional<std::uint64_t> seed;

  // What is wrong with the options together; empty when nothing is.
  std::string conflict() const {
    if (!chat && prompt.empty() && file.empty())
      return "a prompt is needed: -p TEXT, -f FILE or --chat";
    if (chat && (json || raw)) return "--chat goes with neither --json nor --raw";
    if (chat && file == "-")
      return "--chat reads standard input, so it cannot be the file of -f too";
    if (raw && !system.empty()) return "--raw has no system prompt; it goes without --system";
    if (chat && (show_routing || !routing_html.empty()))
      return "--show-routing and --routing-html are of one answer; they go without --chat";
    if (show_routing && json) return "--show-routing goes without --json, --routing-html with it";
    if (ops && quiet && !json) return "--ops adds to the figures, which --quiet leaves out";
    if (think && no_think) return "--think and --no-think exclude each other";
    return {};
  }
};

// Ctrl-C: the first stops the generation, a second one the program, and so does one instead of a chat line. There the
// handler does it: a signal between the prompt and the read would otherwise be forgotten.

enum Awaiting : int { kNothing, kLine, kLineOfTerminal };
volatile sig_atomic_t interrupts = 0;
volatile sig_atomic_t awaiting = kNothing;

void handle_interrupt(int /*signal*/) {
  interrupts = interrupts + 1;
  if (interrupts == 1 && awaiting == kNothing) return;
  if (awaiting == kLineOfTerminal) {
    [[maybe_unused]] const ssize_t written = ::write(STDOUT_FILENO, "\n", 1);
  }
  ::_exit(kInterrupted);
}

void stop_generation_on_interrupt() {
  struct sigaction before {};
  ::sigaction(SIGINT, nullptr, &before);
  if (before.sa_handler == SIG_IGN) return;  // in the background of a script
  struct sigaction action {};
  action.sa_handler = handle_interrupt;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
}

bool colour_on(int descriptor) {
  const auto environment = [](const char* name) -> std::string_view {
    const char* value = std::getenv(name);
    return value == nullptr ? "" : value;
  };
  return ::isatty(descriptor) == 1 && environment("NO_COLOR").empty() &&
         environment("TERM") != "dumb";
}

class Program {
 public:
  explicit Program(const Options& options) : options_(options) {
    load_seconds_ = l2a::seconds_of([&] {
      file_ = l2a::open_file(options.model);
      config_ = l2a::ModelConfig::from_gguf(*file_);
      tokenizer_ = std::make_unique<l2a::Tokenizer>(l2a::open_tokenizer(*file_));
    });
    const std::string& chat_template = tokenizer_->data().chat_template;
    if (!options.raw && !chat_template.empty())
      format_ = l2a::ChatFormat::from_template(chat_template);
    if (!format_ && (options.chat || !options.system.empty())) {
      throw l2a::Error(concat(options.model.path, ": has no chat template, so it takes neither ",
                              "--chat nor --system; use -p or -f"));
    }
  }

  int run() {
    const std::string& stats = options_.route_stats;
    if (!stats.empty()) l2a::require_router(config_, options_.model.path, "--route-stats");
    if (options_.show_routing) l2a::require_router(config_, options_.model.path, "--show-routing");
    std::optional<l2a::TemporaryFile> page;  // that it cannot be written is better known before
    if (!options_.routing_html.empty()) {
      l2a::require_router(config_, options_.model.path, "--routing-html");
      refuse_inputs_as_page();
      page.emplace(options_.routing_html);
    }
    const int code = options_.chat ? chat() : once();
    if (!stats.empty()) l2a::write_route_stats(stats, config_, generator_->routing());
    if (page) {
      const std::string html = l2a::routing_html(
          *record_, shown_, *tokenizer_,
          std::filesystem::path(options_.model.path).filename().string(), prompt_tokens_);
      page->write(std::as_bytes(std::span(html)));
      page->commit();
      if (!options_.quiet && !options_.json)
        std::cerr << concat(options_.routing_html, ": written\n");
    }
    return code;
  }

 private:
  void refuse_inputs_as_page() const {
    std::error_code ignored;
    for (const std::string& input : {options_.model.path, options_.file}) {
      if (std::filesystem::equivalent(options_.routing_html, input, ignored))
        throw l2a::Error(concat("--routing-html: ", options_.routing_html, " is an input"));
    }
  }

  // ---- prompts

  std::string user_text() const {
    std::string text;
    if (!options_.file.empty()) {
      text = l2a::read_text(options_.file);
      l2a::require_utf8(text, options_.file == "-" ? "standard input" : options_.file);
      if (text.empty() && options_.prompt.empty()) {
        throw l2a::Error(concat(options_.file, ": is empty, and there is no -p"));
      }
      if (!options_.prompt.empty()) text += "\n\n";
    }
    l2a::require_utf8(options_.prompt, "--prompt");
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
    l2a::require_utf8(options_.system, "--system");
    return {message("system", options_.system)};
  }

  static l2a::ChatMessage message(std::string role, std::string content) {
    return {std::move(role), std::move(content), std::nullopt, {}};
  }

  // ---- running

  // Without --ctx: what the prompt and the answer need, but not beyond what the model was trained for.
  void start_session(std::int64_t wanted) {
    constexpr std::int64_t kStep = 256;
    const std::int64_t trained = config_.context;
    l2a::SessionOptions session;
    session.context = options_.context > 0
                          ? options_.context
                          : std::min((wanted + kStep - 1) / kStep * kStep, trained);
    session.chunk = options_.chunk;
    session.cache_dtype = options_.model.cache_dtype();
    session.candidates = l2a::Sampler(options_.sampler).needed_candidates();
    session.router_cut = options_.cut.cut(config_, options_.model.path);
    session.keep_routes = records_routing();
    load_seconds_ +=
        l2a::seconds_of([&] { session_ = l2a::open_session(options_.model, file_, session); });
    if (session.context > trained && !options_.quiet) {
      l2a::print_error(kProgram, concat("warning: --ctx ", session.context, " is beyond the ",
                                        trained, " tokens that the model was trained for"));
    }
    l2a::SamplerOptions sampler = options_.sampler;
    sampler.seed = options_.seed ? *options_.seed : std::random_device{}();
    generator_ = std::make_unique<l2a::Generator>(*session_, *tokenizer_, sampler);
    generator_->time_ops(options_.ops);
  }

  l2a::Generation answer(std::span<const Token> prompt) {
    const bool shows_routing = options_.show_routing;
    l2a::Progress progress(!options_.quiet && !options_.json && !shows_routing, l2a::tokens_text);
    l2a::GenerationHooks hooks;
    hooks.prefilled = [&](std::int64_t done, std::int64_t total) {
      if (total > options_.chunk) {
        progress.update(static_cast<std::uint64_t>(done), static_cast<std::uint64_t>(total),
                        "prompt");
      }
      if (done == total) progress.clear();
    };
    hooks.text = [&](const std::string& text) {
      if (!options_.json && !shows_routing) l2a::print(text);
    };
    hooks.interrupted = [] { return interrupts > 0; };
    if (!records_routing()) return generator_->answer(prompt, options_.most, hooks);
    return recorded_answer(prompt, hooks);
  }

  bool records_routing() const { return options_.show_routing || !options_.routing_html.empty(); }

  // A token's routing is known once it has run, one step after its text.
  l2a::Generation recorded_answer(std::span<const Token> prompt, l2a::GenerationHooks& hooks) {
    record_.emplace(config_);
    const bool colours = colour_on(STDOUT_FILENO);
    l2a::PieceDecoder pieces(*tokenizer_);
    const auto show = [&](std::span<const Token> tokens) {
      if (!options_.show_routing) return;
      for (const Token token : tokens) {
        pieces.push(token, [&](const l2a::TextPiece& piece) {
          l2a::print(colours ? l2a::coloured(piece, *record_) : l2a::routing_line(piece, *record_));
        });
      }
    };
    if (options_.show_routing)
      l2a::print(colours ? l2a::routing_legend(*record_) : l2a::routing_header(*record_));
    hooks.ran = [&](std::span<const Token> tokens,
                    std::span<const std::vector<std::int32_t>> routes) {
      record_->add(tokens.size(), routes);
      show(tokens);
    };
    l2a::Generation generation = generator_->answer(prompt, options_.most, hooks);
    prompt_tokens_ = std::min(prompt.size(), record_->size());
    shown_.assign(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(prompt_tokens_));
    for (const Token token : generation.tokens) {
      if (!tokenizer_->ends_generation(token)) shown_.push_back(token);
    }
    show(std::span<const Token>(shown_).subspan(std::min(shown_.size(), record_->size())));
    return generation;
  }

  l2a::Figures figures() const {
    l2a::Figures figures = generator_->figures();
    figures.model = std::filesystem::path(options_.model.path).filename().string();
    figures.architecture = config_.architecture;
    figures.backend = std::string(session_->backend().name());
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
      l2a::print(json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    } else {
      l2a::print("\n");
      if (!options_.quiet)
        std::cerr << "\n" << l2a::figures_text(figures(), colour_on(STDERR_FILENO));
      if (!options_.quiet && record_) std::cerr << l2a::skipped_line(*record_, prompt_tokens_);
    }
    return generation.reason == l2a::StopReason::interrupted ? kInterrupted : 0;
  }

  // A line that cannot be answered is complained about and forgotten; the conversation goes on.
  int chat() {
    constexpr std::int64_t kChatContext = 8192;
    std::vector<l2a::ChatMessage> messages = opening();
    std::string first = user_text();
    start_session(kChatContext);
    stop_generation_on_interrupt();
    int code = 0;
    while (true) {
      const std::optional<std::string> line =
          first.empty() ? read_line() : std::exchange(first, "");
      if (!line || *line == "/exit") break;
      if (line->empty()) continue;
      if (*line == "/clear") {
        messages = opening();
        continue;
      }
      messages.push_back(message("user", *line));
      std::vector<Token> prompt;
      try {
        l2a::require_utf8(*line, "the line");
        prompt = chat_prompt(messages);
        generator_->require_fit(prompt);
      } catch (const l2a::Error& error) {
        l2a::print_error(kProgram, error.what());
        messages.pop_back();
        code = 1;
        continue;
      }
      messages.push_back(message("assistant", chat_answer(prompt)));
    }
    return code;
  }

  // Nothing at the end of the input.
  static std::optional<std::string> read_line() {
    const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
    awaiting = terminal ? kLineOfTerminal : kLine;
    if (terminal) l2a::print(colour_on(STDOUT_FILENO) ? "\x1b[1m> \x1b[0m" : "> ");
    std::string line;
    const bool ended = !std::getline(std::cin, line);
    awaiting = kNothing;
    if (!ended) return line;
    if (terminal) l2a::print("\n");
    return std::nullopt;
  }

  std::string chat_answer(std::span<const Token> prompt) {
    const l2a::Generation generation = answer(prompt);
    interrupts = 0;
    l2a::print("\n");
    if (!options_.quiet)
      std::cerr << l2a::figures_text(figures(), colour_on(STDERR_FILENO)) << "\n";
    if (generation.reason == l2a::StopReason::context) {
      l2a::print_error(kProgram,
                       concat("the context of ", session_->context(),
                              " tokens is full: /clear, or start again with a larger --ctx"));
    }
    return generation.text;
  }

  const Options& options_;
  std::shared_ptr<const l2a::GgufFile> file_;
  l2a::ModelConfig config_;
  std::unique_ptr<l2a::Tokenizer> tokenizer_;
  std::optional<l2a::ChatFormat> format_;
  std::unique_ptr<l2a::Session> session_;
  std::unique_ptr<l2a::Generator> generator_;
  double load_seconds_ = 0;
  // Of an answer whose routing is shown.
  std::optional<l2a::RoutingRecord> record_;
  std::vector<Token> shown_;  // prompt and answer, without the token that ended it
  std::size_t prompt_tokens_ = 0;
};

// CLI::Range lets NaN pass, and names no option's meaning of its ends.
CLI::Validator number(bool (*holds)(double), const char* expected) {
  return {[=](std::string& text) {
            double value = 0;
            const bool read = CLI::detail::lexical_cast(text, value);
            return read && std::isfinite(static_cast<float>(value)) && holds(value)
                       ? std::string()
                       : concat("'", text, "' is not a number ", expected);
          },
          ""};
}

// CLI11 takes -1 and 2^64 for the largest seed.
std::string seed_error(const std::string& text) {
  std::uint64_t seed = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seed);
  return error == std::errc() && end == text.data() + text.size()
             ? std::string()
             : concat("'", text, "' is not a whole number from 0 to 2^64 - 1");
}

void add_sampler_options(CLI::App& app, l2a::SamplerOptions& sampler) {
  constexpr int kMost = std::numeric_limits<int>::max();
  app.add_option("--temp", sampler.temperature, "Temperature; 0 always takes the likeliest token")
      ->check(number([](double value) { return value >= 0; }, "from 0"))
      ->option_text("T [0.8]");
  app.add_option("--top-k", sampler.top_k, "Only the K likeliest; 0: all")
      ->check(CLI::Range(0, kMost))
      ->option_text("K [40]");
  app.add_option("--top-p", sampler.top_p, "Only the likeliest that make up this share; 1: all")
      ->check(number([](double value) { return value > 0 && value <= 1; }, "above 0, to 1"))
      ->option_text("P [0.95]");
  app.add_option("--min-p", sampler.min_p,
                 "Only those at least this fraction as likely as the first")
      ->check(number([](double value) { return value >= 0 && value <= 1; }, "from 0 to 1"))
      ->option_text("P [0.05]");
  app.add_option("--repeat-penalty", sampler.repetition_penalty,
                 "Makes tokens of the text less likely; 1: off")
      ->check(number([](double value) { return value > 0; }, "above 0"))
      ->option_text("R [1]");
  app.add_option("--repeat-window", sampler.repetition_window, "Tokens that the penalty looks back")
      ->check(CLI::Range(0, kMost))
      ->option_text("N [64]");
}

void add_options(CLI::App& app, Options& options) {
  l2a::add_model_options(app, options.model);
  l2a::add_cut_options(app, options.cut);
  app.add_option("-p,--prompt", options.prompt, "What to ask")->option_text("TEXT");
  app.add_option("-f,--file", options.file, "Text to put before the prompt; -: standard input")
      ->check(l2a::not_empty())
      ->option_text("FILE");
  app.add_flag("--chat", options.chat, "Talk, line by line from standard input");
  app.add_option("--system", options.system, "System prompt of the chat")->option_text("TEXT");
  app.add_flag("--raw", options.raw, "Continue the prompt as it is, without the chat template");
  app.add_flag("--think", options.think, "Let the model think first, where it has that switch");
  app.add_flag("--no-think", options.no_think, "Have it answer at once");
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
  l2a::add_route_stats_option(app, options.route_stats);
  app.add_flag(
      "--show-routing", options.show_routing,
      "Of L2A models: prompt and answer, coloured by the share of layers that routed each\n"
      "token; without colours, a line a token");
  app.add_option("--routing-html", options.routing_html,
                 "Write the same as a page; replaced when it exists")
      ->check(l2a::not_empty())
      ->option_text("FILE.html");
  add_sampler_options(app, options.sampler);
  app.add_option("--seed", options.seed, "Of the random choices; by default another one each time")
      ->check(CLI::Validator(seed_error, ""))
      ->option_text("S");
  app.add_flag("--ops", options.ops, "With the figures: where the time went, by kind of op");
  app.add_flag("--json", options.json, "Text and figures as one JSON object on standard output");
  app.add_flag("-q,--quiet", options.quiet, "Only the text");
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.model.type_kv = "f16";
  return l2a::run_program(
      {kProgram, kDescription, kExamples}, argc, argv,
      [&](CLI::App& app) {
        add_options(app, options);
        l2a::refuse_conflicts(app, [&] { return options.conflict(); });
      },
      [&] { return Program(options).run(); });
}
