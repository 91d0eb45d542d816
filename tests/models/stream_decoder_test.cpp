#include <doctest/doctest.h>

#include "models/utf8.h"
#include "tests/models/tokenizer_data.h"

namespace l2a::test {
namespace {

// In the small tokenizer token i is byte i.
std::vector<std::string> stream(std::string_view bytes) {
  static const Tokenizer tokenizer(make_small_data());
  StreamDecoder decoder(tokenizer);
  std::vector<std::string> out;
  for (const char c : bytes) out.push_back(decoder.push(static_cast<unsigned char>(c)));
  out.push_back(decoder.finish());
  return out;
}

using Pieces = std::vector<std::string>;

TEST_CASE("a character comes out when it is complete") {
  CHECK(stream("a\u00e9") == Pieces{"a", "", "\u00e9", ""});
  CHECK(stream("\U0001F600") == Pieces{"", "", "", "\U0001F600", ""});
}

TEST_CASE("bytes that can never become a character are replaced at once") {
  CHECK(stream("\x80") == Pieces{"\uFFFD", ""});
  CHECK(stream("\xC0\xAF") == Pieces{"\uFFFD", "\uFFFD", ""});
  CHECK(stream("\xE2\x82z") == Pieces{"", "", "\uFFFDz", ""});
  CHECK(stream("\xED\xA0") == Pieces{"", "\uFFFD\uFFFD", ""});  // a surrogate
  CHECK(stream("\xF4\x90") == Pieces{"", "\uFFFD\uFFFD", ""});  // past U+10FFFF
}

TEST_CASE("finishing shows that something was cut short, once") {
  CHECK(stream("\xF0\x9F\x98") == Pieces{"", "", "", "\uFFFD"});
}

TEST_CASE("a stream of real tokens is the decoded text") {
  const Tokenizer& tokenizer = qwen3_tokenizer();
  const std::string text =
      "caf\u00e9 \U0001F469\u200D\U0001F467 \u0928\u092e\u0938\u094d\u0924\u0947 \u2153";
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (const Token token : tokenizer.encode(text)) {
    const std::string piece = decoder.push(token);
    CHECK(!find_invalid_utf8(piece));
    streamed += piece;
  }
  CHECK(decoder.finish().empty());
  CHECK(streamed == text);
}

}  // namespace
}  // namespace l2a::test
