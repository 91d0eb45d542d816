#include "examples/common/text_input.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "graph/error.h"
#include "models/quote.h"
#include "models/utf8.h"

namespace l2a {

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
