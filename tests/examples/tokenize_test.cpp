// l2a-tokenize as its users see it.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>

#include "tests/examples/program.h"

namespace l2a {
namespace {

using test::check_fails;
using test::contains;
using test::Ended;
using test::model;
using test::Setup;

constexpr const char* kProgram = "l2a-tokenize";

Setup input(std::string text) {
  Setup setup;
  setup.text = std::move(text);
  return setup;
}

Ended tokenize(std::string text, std::vector<std::string> options = {}) {
  options.insert(options.begin(), model("qwen3-tiny"));
  return test::run(kProgram, options, input(std::move(text)));
}

TEST_CASE("text comes back from its ids, byte by byte") {
  for (const char* text : {"Hello, world!\n\n  two  spaces\tand a tab",
                           "naïve 東京 👩‍🚀 é", " ", "<|im_start|>user\nhi<|im_end|>"}) {
    CAPTURE(text);
    const Ended ids = tokenize(text, {"--ids"});
    CHECK(ids.code == 0);
    CHECK(ids.err.empty());
    CHECK(ids.out.find_first_not_of("0123456789 \n") == std::string::npos);
    CHECK(ids.out.find('\n') == ids.out.size() - 1);
    const Ended back = tokenize(ids.out, {"--decode"});
    CHECK(back.code == 0);
    CHECK(back.out == text);
  }
}

TEST_CASE("ids may be separated by commas, as other programs print them") {
  const std::string spaces = tokenize("a b c", {"--ids"}).out;
  std::string commas = spaces;
  for (char& c : commas) c = c == ' ' ? ',' : c;
  CHECK(tokenize(commas, {"--decode"}).out == "a b c");
}

TEST_CASE("without --ids there is a line for each token, with its id and its text") {
  const Ended ended = tokenize("hi\n");
  CHECK(ended.code == 0);
  CHECK(contains(ended.out, "\t\"\\n\"\n"));
  const Ended ids = tokenize("hi\n", {"--ids"});
  CHECK(std::count(ended.out.begin(), ended.out.end(), '\n') ==
        std::count(ids.out.begin(), ids.out.end(), ' ') + 1);
}

TEST_CASE("special tokens are one id, and plain text with --no-special") {
  const Ended special = tokenize("<|im_end|>");
  CHECK(contains(special.out, "\t\"<|im_end|>\"\n"));
  CHECK(std::count(special.out.begin(), special.out.end(), '\n') == 1);
  const Ended plain = tokenize("<|im_end|>", {"--no-special", "--ids"});
  CHECK(std::count(plain.out.begin(), plain.out.end(), ' ') > 0);
  CHECK(tokenize(plain.out, {"--decode"}).out == "<|im_end|>");
}

TEST_CASE("no input gives no output") {
  for (const std::vector<std::string>& options :
       {std::vector<std::string>{}, {"--ids"}, {"--decode"}}) {
    const Ended ended = tokenize("", options);
    CHECK(ended.code == 0);
    CHECK(ended.out.empty());
    CHECK(ended.err.empty());
  }
}

TEST_CASE("invalid UTF-8 is refused with its byte offset") {
  for (const std::vector<std::string>& options : {std::vector<std::string>{}, {"--ids"}}) {
    std::vector<std::string> arguments = options;
    arguments.insert(arguments.begin(), model("qwen3-tiny"));
    check_fails(kProgram, arguments, 1, {"standard input", "UTF-8", "at byte 5"},
                input("naïv\xff"));
  }
}

TEST_CASE("--decode refuses what is not an id of the vocabulary, wherever it stands") {
  const auto fails = [](std::string text, std::initializer_list<std::string_view> says) {
    check_fails(kProgram, {model("qwen3-tiny"), "--decode"}, 1, says, input(std::move(text)));
  };
  fails("1 2 x 3", {"standard input", "'x'", "at byte 4"});
  fails("1 2 3x", {"'3x'"});
  fails("1 -", {"'-'"});
  fails("1.5", {"'1.5'"});
  fails("99999999999999999999", {"'99999999999999999999'"});
  fails("1 512", {"token 1 is 512", "from 0 to 511"});
  fails("-1", {"token 0 is -1", "from 0 to 511"});
}

TEST_CASE("l2a-tokenize fails in one line") {
  check_fails(kProgram, {}, 2, {"MODEL"});
  check_fails(kProgram, {model("qwen3-tiny"), "--decode", "--ids"}, 2, {"--decode", "--ids"});
  check_fails(kProgram, {"/none.gguf"}, 1, {"/none.gguf"});
  check_fails(kProgram, {model("l2a-qwen3-trained")}, 1,
              {"l2a-qwen3-trained", "no tokenizer", "l2a-logits"});
  Setup closed;
  closed.input = test::Input::closed;
  check_fails(kProgram, {model("qwen3-tiny")}, 1, {"standard input", "cannot be read"}, closed);
  Setup full = input("hello");
  full.output = test::Output::full;
  check_fails(kProgram, {model("qwen3-tiny")}, 1, {"standard output", "No space left"}, full);
}

}  // namespace
}  // namespace l2a
