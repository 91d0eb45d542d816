#include "examples/common/text_input.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <limits>

#include "convert/safetensors.h"
#include "graph/error.h"
#include "models/quote.h"
#include "models/utf8.h"

namespace l2a {
namespace {

Token narrow(std::int64_t id, std::size_t at, const std::string& path) {
  if (id < 0 || id > std::numeric_limits<Token>::max()) {
    throw Error(concat(path, ": input_ids[", at, "] is ", id, ", which is not a token id"));
  }
  return static_cast<Token>(id);
}

std::vector<Token> read_input_ids(const std::string& path) {
  const Safetensors file = Safetensors::open_file(path);
  const SafetensorsTensor* ids = file.find("input_ids");
  using Type = SafetensorsType;
  if (ids == nullptr || (ids->type != Type::i32 && ids->type != Type::i64)) {
    throw FileError(concat(path, ": tensor 'input_ids' of I32 or I64 was expected"));
  }
  const std::size_t bytes = safetensors_type_bytes(ids->type);
  std::vector<Token> tokens(ids->data.size() / bytes);
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    std::int64_t id = 0;  // an I32 is its low half, on little-endian machines as everywhere here
    std::memcpy(&id, ids->data.data() + i * bytes, bytes);
    tokens[i] = ids->type == Type::i32 ? static_cast<std::int32_t>(id) : narrow(id, i, path);
  }
  return tokens;
}

}  // namespace

std::string read_text(const std::string& path) {
  const bool standard = path == "-";
  const std::string name = standard ? "standard input" : path;
  const int file = standard ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) throw FileError(concat(name, ": cannot be opened: ", std::strerror(errno)));
  std::string text;
  std::array<char, 1 << 16> piece;
  ssize_t count = 0;
  do {
    count = ::read(file, piece.data(), piece.size());
    if (count > 0) text.append(piece.data(), static_cast<std::size_t>(count));
  } while (count > 0 || (count < 0 && errno == EINTR));
  const int error = errno;
  if (!standard) ::close(file);
  if (count < 0) throw FileError(concat(name, ": cannot be read: ", std::strerror(error)));
  return text;
}

void require_utf8(std::string_view text, std::string_view where) {
  if (const auto offset = find_invalid_utf8(text)) {
    throw Error(concat(where, ": is not valid UTF-8 at byte ", *offset));
  }
}

Documents read_documents(const std::vector<std::string>& paths, const Tokenizer& tokenizer,
                         std::int64_t vocabulary) {
  Documents documents;
  if (tokenizer.data().add_bos) documents.bos = tokenizer.data().bos;
  for (const std::string& path : paths) {
    const std::string text = read_text(path);
    const std::string where = path == "-" ? "standard input" : path;
    require_utf8(text, where);
    // As text, so that a document about chat templates does not open chats.
    std::vector<Token> tokens = tokenizer.encode(text, false);
    if (documents.bos) tokens.insert(tokens.begin(), *documents.bos);
    require_in_vocabulary(tokens, vocabulary, where);
    documents.tokens.push_back(std::move(tokens));
  }
  return documents;
}

std::vector<Token> parse_tokens(std::string_view text, std::string_view where) {
  constexpr std::string_view kBetween = ", \t\r\n";
  std::vector<Token> tokens;
  for (std::size_t at = text.find_first_not_of(kBetween); at != std::string_view::npos;
       at = text.find_first_not_of(kBetween, at)) {
    const std::string_view word = text.substr(at, text.find_first_of(kBetween, at) - at);
    Token token = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), token);
    if (error != std::errc() || end != word.data() + word.size()) {
      throw Error(concat(where, ": ", quote(word), " at byte ", at, " is not a token id"));
    }
    tokens.push_back(token);
    at += word.size();
  }
  return tokens;
}

TokenInput read_tokens(const std::string& given) {
  TokenInput input{{}, given};
  // A list is not the name of a file, unless there is one; it may be longer than names can be.
  std::error_code ignored;
  if (given != "-" && !std::filesystem::exists(given, ignored)) {
    input.where = "--tokens";
    input.tokens = parse_tokens(given, "--tokens: not a file, and as a list");
  } else if (std::filesystem::path(given).extension() == ".safetensors") {
    input.tokens = read_input_ids(given);
  } else {
    input.tokens = parse_tokens(read_text(given), given);
  }
  if (input.tokens.empty()) throw Error(concat(input.where, ": there are no token ids"));
  return input;
}

void require_in_vocabulary(const std::vector<Token>& tokens, std::int64_t vocabulary,
                           std::string_view where) {
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= vocabulary) {
      throw Error(concat(where, ": token ", i, " is ", tokens[i], "; ids from 0 to ",
                         vocabulary - 1, " were expected"));
    }
  }
}

}  // namespace l2a
