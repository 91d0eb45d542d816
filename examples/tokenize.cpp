// l2a-tokenize: text to tokens and back.
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <sstream>

#include "examples/common/main_wrapper.h"
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
    "book.txt";

std::string read_all(std::istream& in) { return {std::istreambuf_iterator<char>(in), {}}; }

// A token's bytes on one line; what is not UTF-8 by itself is shown as U+FFFD.
std::string quoted(const std::string& bytes) {
  return nlohmann::json(bytes).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

void encode(const l2a::Tokenizer& tokenizer, bool ids_only, bool special) {
  std::string out;
  for (const Token token : tokenizer.encode(read_all(std::cin), special)) {
    out += std::to_string(token);
    out += ids_only ? " " : concat("\t", quoted(tokenizer.decode({&token, 1})), "\n");
  }
  if (ids_only && !out.empty()) out.back() = '\n';
  std::cout << out;
}

void decode(const l2a::Tokenizer& tokenizer) {
  std::vector<Token> tokens;
  std::istringstream in(read_all(std::cin));
  for (Token token = 0; in >> token;) tokens.push_back(token);
  if (!in.eof()) throw l2a::Error("standard input: token ids between white space were expected");
  std::cout << tokenizer.decode(tokens);
}

}  // namespace

int main(int argc, char** argv) {
  return l2a::run_program(kProgram, [&] {
    std::string path;
    bool ids_only = false, no_special = false, decodes = false;
    CLI::App app(kDescription, kProgram);
    app.footer(kExamples);
    app.set_version_flag("--version", concat(kProgram, " ", L2A_VERSION));
    app.add_option("MODEL", path, "GGUF file")->required();
    app.add_flag("--ids", ids_only, "Only the ids, on one line");
    app.add_flag("--no-special", no_special,
                 "Read \"<|im_start|>\" and the like as plain text, not as special tokens");
    app.add_flag("--decode", decodes, "Read ids and write their text");
    if (const auto code = l2a::parse_arguments(kProgram, app, argc, argv)) return *code;
    const auto file = l2a::GgufFile::open(path);
    const l2a::Tokenizer tokenizer(l2a::TokenizerData::from_gguf(*file));
    if (decodes) {
      decode(tokenizer);
    } else {
      encode(tokenizer, ids_only, !no_special);
    }
    if (!std::cout.flush()) throw l2a::Error("standard output: cannot write");
    return 0;
  });
}
