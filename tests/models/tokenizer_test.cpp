#include "models/tokenizer.h"

#include <doctest/doctest.h>

#include <chrono>

#include "graph/error.h"
#include "models/utf8.h"
#include "tests/models/tokenizer_data.h"
#include "tests/temporary_folder.h"

namespace l2a::test {
namespace {

using Kind = TokenizerData::Kind;
using Tokens = std::vector<Token>;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST_CASE("encoding and decoding agree with Hugging Face on every recorded text") {
  const Tokenizer& tokenizer = qwen3_tokenizer();
  const auto cases = read_json_lines("tokens.jsonl");
  REQUIRE(cases.size() > 50);
  for (const auto& expected : cases) {
    const auto text = expected["text"].get<std::string>();
    CAPTURE(text);
    CHECK(tokenizer.encode(text) == expected["ids"].get<Tokens>());
    CHECK(tokenizer.decode(expected["ids"].get<Tokens>()) ==
          expected["decoded"].get<std::string>());
  }
}

TEST_CASE("every id decodes, and bytes survive the round trip") {
  const Tokenizer& tokenizer = qwen3_tokenizer();
  for (Token token = 0; token < tokenizer.vocabulary_size(); ++token) {
    REQUIRE(!tokenizer.decode({&token, 1}).empty());
  }
  const std::string text = std::string(1, '\0') + "\x01 caf\u00e9 \U0001F600\u4f60\u597d\r\n\t x";
  CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
}

TEST_CASE("text is composed to NFC, special tokens are not part of that") {
  const Tokenizer& tokenizer = qwen3_tokenizer();
  CHECK(tokenizer.encode("e\u0301") == tokenizer.encode("\u00e9"));
  // A mark after a special token begins the next piece of text; it does not join the token.
  CHECK(tokenizer.encode("<|im_end|>\u0301").front() == 151645);
  // Canonical ordering: cedilla (class 202) sorts before acute (230) whichever comes first.
  CHECK(normalize_nfc("o\u0301\u0327") == normalize_nfc("o\u0327\u0301"));
  CHECK(normalize_nfc("\u1112\u1161\u11ab") == "\ud55c");
  CHECK(normalize_nfc("\u2126") == "\u03a9");        // Ohm sign, a singleton
  CHECK(normalize_nfc("\u0958") == "\u0915\u093c");  // excluded from composition
}

TEST_CASE("SmolLM splitting has no normalization") {
  const Tokenizer tokenizer(make_small_data("smollm"));
  CHECK(tokenizer.encode("e\u0301").size() == 3);
}

TEST_CASE("special tokens are found leftmost and longest") {
  const Tokenizer tokenizer(make_small_data());
  const Token im_end = *tokenizer.find("<|im_end|>"), think = *tokenizer.find("<think>");
  const Token longer = *tokenizer.find("<think>>"), hello = *tokenizer.find("hello");
  CHECK(tokenizer.encode("hello<|im_end|>hello") == Tokens{hello, im_end, hello});
  CHECK(tokenizer.encode("<think>>") == Tokens{longer});
  CHECK(tokenizer.encode("<think><think>") == Tokens{think, think});
  CHECK(tokenizer.encode("<|im_end|").size() == 9);
  SUBCASE(
      "control tokens are text unless they are asked for; user-defined ones are always tokens") {
    CHECK(tokenizer.encode("<|im_end|>", false).size() == 10);
    CHECK(tokenizer.encode("<think>", false) == Tokens{think});
  }
  SUBCASE("unused tokens are never found in text") {
    CHECK(tokenizer.encode("[PAD0]").size() == 6);
  }
  SUBCASE("decoding can leave control tokens out") {
    const Tokens tokens{im_end, hello, think};
    CHECK(tokenizer.decode(tokens) == "<|im_end|>hello<think>");
    CHECK(tokenizer.decode(tokens, true) == "hello<think>");
  }
}

TEST_CASE("merges apply best first, then leftmost") {
  const Tokenizer tokenizer(make_small_data());
  CHECK(tokenizer.encode("lll") == Tokens{*tokenizer.find("ll"), *tokenizer.find("l")});
  CHECK(tokenizer.encode("hell") == Tokens{*tokenizer.find("hell")});
  CHECK(tokenizer.encode("hel") == Tokens{*tokenizer.find("he"), *tokenizer.find("l")});
}

TEST_CASE("a byte without a token is left out, as in the reference") {
  TokenizerData data = make_small_data();
  data.tokens['\x04'] = "<another>";
  const Tokenizer tokenizer(data);
  CHECK(tokenizer.encode("!\x04!") == Tokens{'!', '!'});
  CHECK(tokenizer.encode("\x04").empty());
}

TEST_CASE("errors name what is wrong") {
  const Tokenizer tokenizer(make_small_data());
  CHECK(message_of<Error>([&] { tokenizer.encode("ab\xC3"); }) ==
        "the text is not valid UTF-8 at byte 2");
  CHECK(message_of<Error>([&] { tokenizer.encode("<|im_end|>\xED\xA0\x80"); }) ==
        "the text is not valid UTF-8 at byte 10");
  const Token negative = -1, past = static_cast<Token>(tokenizer.vocabulary_size());
  CHECK(message_of<Error>([&] { tokenizer.decode({&negative, 1}); }).find("token -1") == 0);
  CHECK(message_of<Error>([&] {
          tokenizer.decode({&past, 1});
        }).find("outside the vocabulary of 265") != std::string::npos);
}

TEST_CASE("inconsistent data is refused") {
  TokenizerData data = make_small_data();
  const auto error = [&] { return message_of<Error>([&] { Tokenizer{data}; }); };
  SUBCASE("empty") {
    data = {};
    CHECK(error() == "the tokenizer's vocabulary is empty");
  }
  SUBCASE("sizes") {
    data.kinds.pop_back();
    CHECK(error() == "the tokenizer has 265 tokens but 264 token types");
  }
  SUBCASE("a token twice") {
    data.tokens[256] = "hello";
    CHECK(error() == "the tokenizer's tokens 256 and 259 are both 'hello'");
  }
  SUBCASE("a merge of what is no token") {
    data.merges.emplace_back("he x\u0100");
    CHECK(error().find("tokenizer merge 4 'he x\\xc4\\x80' uses 'x\\xc4\\x80'") == 0);
  }
  SUBCASE("a merge into what is no token") {
    data.merges.emplace_back("o o");
    CHECK(error() == "tokenizer merge 4 'o o' uses 'oo', which is not in the vocabulary");
  }
  SUBCASE("a merge of one token") {
    data.merges.emplace_back("hello");
    CHECK(error() == "tokenizer merge 4 'hello' is not two tokens");
  }
  SUBCASE("an id outside the vocabulary") {
    data.eos = 265;
    CHECK(error() == "the tokenizer's EOS token 265 is outside its vocabulary of 265");
  }
  SUBCASE("a pre-tokenizer that is not supported") {
    data.pre = "mpt";
    CHECK(error().find("pre-tokenizer 'mpt' is not supported") == 0);
  }
}

TEST_CASE("what ends generation") {
  TokenizerData data = make_small_data();
  data.eos = 'x';
  data.eot = 'y';
  Tokenizer tokenizer(std::move(data));
  const Tokenizer moved = std::move(tokenizer);
  CHECK(moved.ends_generation('x'));
  CHECK(moved.ends_generation('y'));
  CHECK(moved.ends_generation(*moved.find("<|im_end|>")));
  CHECK(!moved.ends_generation(*moved.find("<|im_start|>")));
  CHECK(!moved.ends_generation('z'));
  CHECK(!moved.ends_generation(-1));
}

TEST_CASE("long texts take linear time, whatever they consist of") {
  const Tokenizer& tokenizer = qwen3_tokenizer();
  const auto repeat = [](std::string_view piece, std::size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += piece;
    return text;
  };
  // Each would take minutes if anything in encoding were quadratic; each takes well under a second.
  for (const std::string_view piece : {"a", "ab", " ", "\n", " \n", "1", "!", "<", "\u4f60",
                                       "\u0301\u0327", "'s", "hello world "}) {
    CAPTURE(piece);
    const std::string text = repeat(piece, 1 << 20);
    const auto start = std::chrono::steady_clock::now();
    const auto tokens = tokenizer.encode(text);
    CHECK(seconds_since(start) < 20);  // also with sanitizers, on a busy machine
    CHECK(tokenizer.decode(tokens) == normalize_nfc(text));
  }
}

}  // namespace
}  // namespace l2a::test
