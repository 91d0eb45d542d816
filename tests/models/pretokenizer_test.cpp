#include "models/pretokenizer.h"

#include <doctest/doctest.h>

#include <string>

#include "graph/error.h"

namespace l2a {
namespace {

using Words = std::vector<std::string_view>;

Words split(std::string_view pre, std::string_view text) {
  Words words;
  PreTokenizer(pre).split(text, words);
  return words;
}

TEST_CASE("qwen2 words") {
  const auto qwen = [](std::string_view text) { return split("qwen2", text); };
  CHECK(qwen("").empty());
  CHECK(qwen("Hello, world!") == Words{"Hello", ",", " world", "!"});
  CHECK(qwen("it's IT'S") == Words{"it", "'s", " IT", "'S"});
  CHECK(qwen("12ab") == Words{"1", "2", "ab"});
  CHECK(qwen("a  b") == Words{"a", " ", " b"});
  CHECK(qwen("a \n\n b") == Words{"a", " \n\n", " b"});
  CHECK(qwen("x  ") == Words{"x", "  "});
  CHECK(qwen(" !!\r\n.") == Words{" !!\r\n", "."});
  CHECK(qwen("(abc)") == Words{"(abc", ")"});
}

TEST_CASE("smollm splits digits first, so white space before a digit stays whole") {
  const auto smollm = [](std::string_view text) { return split("smollm", text); };
  CHECK(smollm("").empty());
  CHECK(smollm("a  12 b") == Words{"a", "  ", "1", "2", " b"});
  CHECK(smollm("it's IT'S") == Words{"it", "'s", " IT", "'", "S"});
  CHECK(smollm("(abc)\n\nx") == Words{"(", "abc", ")", "\n", "\n", "x"});
  CHECK(smollm("\u00bd\u2167") == Words{"\u00bd", "\u2167"});
}

TEST_CASE("white space is Unicode's White_Space, not PCRE2's") {
  // Each would be " " + next character's word if it were not white space.
  for (const char* space : {"\u0085", "\u00a0", "\u1680", "\u2003", "\u2028", "\u202f", "\u3000"}) {
    const std::string text = std::string("!") + space + space + "!";
    CAPTURE(text);
    CHECK(split("smollm", text).size() == 4);
  }
  for (const char* other : {"\u180e", "\u200b", "\u2060", "\ufeff"}) {
    const std::string text = std::string("!") + other + other + "!";
    CAPTURE(text);
    CHECK(split("smollm", text) == Words{text});
  }
}

TEST_CASE("normalization and names") {
  CHECK(PreTokenizer("qwen2").wants_nfc());
  CHECK(PreTokenizer("deepseek-r1-qwen").wants_nfc());
  CHECK(!PreTokenizer("smollm").wants_nfc());
  CHECK_THROWS_AS(PreTokenizer("gpt-2"), Error);
}

}  // namespace
}  // namespace l2a
