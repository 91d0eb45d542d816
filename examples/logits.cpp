// l2a-logits: the logits and routes of a token sequence, for comparison with other implementations.
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "convert/safetensors_writer.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/progress.h"
#include "examples/common/text_input.h"
#include "models/session.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-logits";

constexpr const char* kDescription =
    "Runs tokens through a model and writes what it computed: `logits` f32 [T, V] and, for L2A\n"
    "models, `route` u8 [L', T], a row for each layer with a router.";

constexpr const char* kExamples =
    "Tokens come from the command line or from a file ('-': standard input): numbers between\n"
    "commas or white space, or a .safetensors file with `input_ids`.\n\n"
    "Examples:\n"
    "  l2a-logits model.gguf --tokens 1,2,3 --out logits.safetensors\n"
    "  l2a-logits model.gguf --tokens ids.txt --chunk 7 --decode 16 --out logits.safetensors\n"
    "  l2a-tokenize model.gguf --ids < book.txt | l2a-logits model.gguf --tokens - --out "
    "l.safetensors";

struct Options {
  l2a::ModelOptions model;
  std::string tokens, out;
  std::int64_t chunk = 512, decode = 0;
  bool quiet = false;
};

void run(const Options& options) {
  const l2a::TokenInput input = l2a::read_tokens(options.tokens);
  const std::vector<Token>& tokens = input.tokens;
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (options.decode > count) {
    throw l2a::Error(concat("--decode ", options.decode, " is more than the ", count, " tokens"));
  }
  const auto file = l2a::open_file(options.model);
  const auto config = l2a::ModelConfig::from_gguf(*file);
  l2a::require_in_vocabulary(tokens, config.vocabulary, input.where);
  std::error_code ignored;
  if (std::filesystem::equivalent(options.out, options.model.path, ignored)) {
    throw l2a::Error(concat("--out: ", options.out, " is the model itself"));
  }
  l2a::SessionOptions session_options;
  session_options.context = count;
  session_options.chunk = options.chunk;
  session_options.cache_dtype = options.model.cache_dtype();
  session_options.keep_routes = true;
  const auto session = l2a::open_session(options.model, file, session_options, l2a::LogitsOf::all);

  const std::int64_t routed_layers = config.l2a ? config.l2a->routed_layers() : 0;
  l2a::SafetensorsWriter writer(options.out);
  writer.add_tensor("logits", l2a::SafetensorsType::f32, std::vector{count, config.vocabulary});
  if (routed_layers > 0) {
    writer.add_tensor("route", l2a::SafetensorsType::u8, std::vector{routed_layers, count});
  }
  std::vector<std::uint8_t> routes(static_cast<std::size_t>(routed_layers * count));
  l2a::Progress progress(!options.quiet, l2a::tokens_text);
  progress.update(0, tokens.size(), "logits");
  for (std::int64_t begin = 0; begin < count;) {
    const std::int64_t prompt_left = count - options.decode - begin;
    const std::int64_t size = prompt_left > 0 ? std::min(options.chunk, prompt_left) : 1;
    const std::span<const Token> piece(tokens.data() + begin, static_cast<std::size_t>(size));
    const l2a::Evaluation step = session->step(piece, l2a::LogitsOf::all);
    writer.write_values(step.logits());
    for (std::size_t layer = 0; layer < step.routes.size(); ++layer) {
      for (const std::int32_t token : step.routes[layer]) {
        routes[layer * tokens.size() + static_cast<std::size_t>(begin + token)] = 1;
      }
    }
    begin += size;
    progress.update(static_cast<std::uint64_t>(begin), tokens.size(), "logits");
  }
  if (routed_layers > 0) writer.write_values(std::span<const std::uint8_t>(routes));
  writer.finish();
  progress.clear();
  if (!options.quiet) {
    std::cerr << concat(
        options.out, ": logits [", count, ", ", config.vocabulary, "]",
        routed_layers > 0 ? concat(", route [", routed_layers, ", ", count, "]") : "", ", ",
        l2a::seconds_text(progress.seconds()), "\n");
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  options.model.type_kv = "f32";
  return l2a::run_program(
      {kProgram, kDescription, kExamples}, argc, argv,
      [&](CLI::App& app) {
        l2a::add_model_options(app, options.model);
        app.add_option("--tokens", options.tokens, "Token ids, or a file with them")
            ->required()
            ->check(l2a::not_empty())
            ->option_text("1,2,3|FILE REQUIRED");
        app.add_option("-o,--out", options.out, "File to write; replaced when it exists")
            ->required()
            ->check(l2a::not_empty())
            ->option_text("F.safetensors REQUIRED");
        app.add_option("--chunk", options.chunk, "Tokens that go through the model together")
            ->check(CLI::Range(1, 1 << 20))
            ->option_text("N [512]");
        app.add_option("--decode", options.decode, "This many of the last tokens go one by one")
            ->check(CLI::NonNegativeNumber)
            ->option_text("M [0]");
        app.add_flag("-q,--quiet", options.quiet, "No progress and no summary");
      },
      [&] {
        l2a::clean_up_on_signals();
        run(options);
        return 0;
      });
}
