// What users hand to the programs as text: files, standard input, lists of token ids. Errors name where it came from.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer.h"

namespace l2a {

// All of a file, which may be a pipe; "-" is standard input. Throws FileError.
std::string read_text(const std::string& path);

// Throws Error with the offset of the first byte of `text` that is not UTF-8.
void require_utf8(std::string_view text, std::string_view where);

// Numbers between commas or white space. Throws Error for what is none.
std::vector<Token> parse_tokens(std::string_view text, std::string_view where);

// Texts of files ("-": standard input) as tokens, one list a document, each after BOS where the tokenizer adds it. Marks
// of chats are taken as text. Throws Error for what is not UTF-8 or not in the vocabulary.
struct Documents {
  std::vector<std::vector<Token>> tokens;
  std::optional<Token> bos;  // that the tokenizer adds
};
Documents read_documents(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                         std::int64_t vocabulary);

struct TokenInput {
  std::vector<Token> tokens;
  std::string where;  // for messages
};
// A list of ids, or the name of a file with one ("-": standard input) or, for .safetensors, with `input_ids`.
// Throws Error when there are none.
TokenInput read_tokens(const std::string& given);

// Throws Error for the first id that a model of this vocabulary does not have.
void require_in_vocabulary(const std::vector<Token>& tokens, std::int64_t vocabulary,
                           std::string_view where);

}  // namespace l2a
