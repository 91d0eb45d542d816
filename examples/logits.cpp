// l2a-logits: the logits and routes of a token sequence, for comparison with other implementations.
#include <algorithm>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "convert/safetensors.h"
#include "convert/safetensors_writer.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/progress.h"
#include "models/mapped_file.h"
#include "models/session.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-logits";

constexpr const char* kDescription =
    "Runs tokens through a model and writes what it computed: `logits` f32 [T, V] and, for L2A\n"
    "models, `route` u8 [L', T], a row for each layer with a router.";

constexpr const char* kExamples =
    "Tokens come from the command line or from a file: numbers between commas or white space, or "
    "a\n"
    ".safetensors file with `input_ids`.\n\n"
    "Examples:\n"
    "  l2a-logits model.gguf --tokens 1,2,3 --out logits.safetensors\n"
    "  l2a-logits model.gguf --tokens ids.txt --chunk 7 --decode 16 --out logits.safetensors";

struct Options {
  l2a::ModelOptions model;
  std::string tokens, out;
  std::int64_t chunk = 512, decode = 0;
  bool quiet = false;
};

std::vector<Token> parse_tokens(std::string_view text, const std::string& where) {
  constexpr std::string_view kBetween = ", \t\r\n";
  std::vector<Token> tokens;
  for (std::size_t at = text.find_first_not_of(kBetween); at != std::string_view::npos;
       at = text.find_first_not_of(kBetween, at)) {
    const std::string_view word = text.substr(at, text.find_first_of(kBetween, at) - at);
    Token token = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), token);
    if (error != std::errc() || end != word.data() + word.size()) {
      throw l2a::Error(concat(where, ": '", word.substr(0, 32), "' is not a token id"));
    }
    tokens.push_back(token);
    at += word.size();
  }
  if (tokens.empty()) throw l2a::Error(concat(where, ": there are no token ids"));
  return tokens;
}

std::vector<Token> read_input_ids(const std::string& path) {
  const l2a::Safetensors file = l2a::Safetensors::open_file(path);
  const l2a::SafetensorsTensor* ids = file.find("input_ids");
  if (ids == nullptr || ids->type != l2a::SafetensorsType::i32 || ids->data.empty()) {
    throw l2a::FileError(concat(path, ": tensor 'input_ids' of I32 was expected"));
  }
  std::vector<Token> tokens(ids->data.size() / sizeof(Token));
  std::memcpy(tokens.data(), ids->data.data(), tokens.size() * sizeof(Token));
  return tokens;
}

std::vector<Token> read_tokens(const std::string& given) {
  // A list is not the name of a file, unless there is one.
  if (!std::filesystem::exists(given)) return parse_tokens(given, "--tokens");
  if (std::filesystem::path(given).extension() == ".safetensors") return read_input_ids(given);
  const auto file = l2a::MappedFile::open(given);
  return parse_tokens({reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size()},
                      given);
}

void run(const Options& options) {
  const std::vector<Token> tokens = read_tokens(options.tokens);
  const auto count = static_cast<std::int64_t>(tokens.size());
  if (options.decode > count) {
    throw l2a::Error(concat("--decode ", options.decode, " is more than the ", count, " tokens"));
  }
  const l2a::OpenModel open = l2a::open_model(options.model);
  const l2a::ModelConfig& config = open.model->config();
  l2a::SessionOptions session_options;
  session_options.context = count;
  session_options.cache_dtype = open.cache_dtype;
  session_options.keep_routes = true;
  l2a::Session session(open.model, open.backend, {}, session_options);

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
    const l2a::Evaluation step = session.step(piece, l2a::LogitsOf::all);
    writer.write_values(step.logits);
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
}

}  // namespace

int main(int argc, char** argv) {
  return l2a::run_program(kProgram, [&] {
    Options options;
    options.model.type_kv = "f32";
    CLI::App app(kDescription, kProgram);
    app.footer(kExamples);
    app.set_version_flag("--version", concat(kProgram, " ", L2A_VERSION));
    l2a::add_model_options(app, options.model);
    app.add_option("--tokens", options.tokens, "Token ids, or a file with them")
        ->required()
        ->option_text("1,2,3|FILE REQUIRED");
    app.add_option("-o,--out", options.out, "File to write; replaced when it exists")
        ->required()
        ->option_text("F.safetensors REQUIRED");
    app.add_option("--chunk", options.chunk, "Tokens that go through the model together")
        ->check(CLI::Range(1, 1 << 20))
        ->option_text("N [512]");
    app.add_option("--decode", options.decode, "This many of the last tokens go one by one")
        ->check(CLI::NonNegativeNumber)
        ->option_text("M [0]");
    app.add_flag("-q,--quiet", options.quiet, "No progress");
    if (const auto code = l2a::parse_arguments(kProgram, app, argc, argv)) return *code;
    l2a::clean_up_on_signals();
    run(options);
    return 0;
  });
}
