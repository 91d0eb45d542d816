// l2a-tokenize: text to tokens and back.
#include <nlohmann/json.hpp>

#include "examples/common/main_wrapper.h"
#include "examples/common/open_model.h"
#include "examples/common/text_input.h"
#include "models/gguf.h"
#include "models/tokenizer.h"

namespace {

using l2a::concat;
using l2a::Token;

constexpr const char* kProgram = "l2a-tokenize";

constexpr const char* kDescription =
    "Encodes standard input with a model's tokenizer: one token a line, its id and its text, or\n"
    "with --ids just the ids. With --decode, turns ids back into text.";

constexpr const char* kExamples =
    "Examples:\n"
    "  echo -n 'Hello, world!' | l2a-tokenize model.gguf\n"
    "  l2a-tokenize model.gguf --ids < book.txt | l2a-tokenize model.gguf --decode | diff - "
    "book.txt\n"
    "  l2a-tokenize model.gguf --ids < book.txt | wc -w      # how many tokens it takes";

constexpr const char* kInput = "standard input";

// A token's bytes on one line; what is not UTF-8 by itself is shown as U+FFFD.
std::string quoted(const std::string& bytes) {
  return nlohmann::json(bytes).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void encode(const l2a::Tokenizer& tokenizer, bool ids_only, bool special) {
  const std::string text = l2a::read_text("-");
  l2a::require_utf8(text, kInput);
  std::string out;
  for (const Token token : tokenizer.encode(text, special)) {
    out += std::to_string(token);
    out += ids_only ? " " : concat("\t", quoted(tokenizer.decode({&token, 1})), "\n");
  }
  if (ids_only && !out.empty()) out.back() = '\n';
  l2a::print(out);
}

void decode(const l2a::Tokenizer& tokenizer) {
  const std::vector<Token> tokens = l2a::parse_tokens(l2a::read_text("-"), kInput);
  l2a::require_in_vocabulary(tokens, tokenizer.vocabulary_size(), kInput);
  l2a::print(tokenizer.decode(tokens));
}

}  // namespace

int main(int argc, char** argv) {
  std::string path;
  bool ids_only = false, no_special = false, decodes = false;
  return l2a::run_program(
      {kProgram, kDescription, kExamples}, argc, argv,
      [&](CLI::App& app) {
        l2a::add_model_path(app, path);
        app.add_flag("--ids", ids_only, "Only the ids, on one line");
        app.add_flag("--no-special", no_special,
                     "Read \"<|im_start|>\" and the like as plain text, not as special tokens");
        app.add_flag("--decode", decodes,
                     "Read ids, between white space or commas, and write their text");
      },
      [&] {
        if (decodes && (ids_only || no_special)) {
          l2a::print_error(
              kProgram,
              "--decode goes with neither --ids nor --no-special (see l2a-tokenize --help)");
          return 2;
        }
        const auto file = l2a::GgufFile::open(path);
        const l2a::Tokenizer tokenizer = l2a::open_tokenizer(*file);
        if (decodes) {
          decode(tokenizer);
        } else {
          encode(tokenizer, ids_only, !no_special);
        }
        return 0;
      });
}
