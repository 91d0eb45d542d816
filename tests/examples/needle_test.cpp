// l2a-needle: how a fact is hidden, what counts as found, and the grid as users see it.
#include "examples/common/needle.h"

#include <doctest/doctest.h>

#include <filesystem>
#include <set>

#include "graph/error.h"
#include "models/gguf.h"
#include "tests/examples/perplexity.h"

namespace l2a {
namespace {

using test::check_fails;
using test::contains;
using test::Ended;
using test::json_of;
using test::message_of;
using test::model;
using test::TemporaryFolder;

constexpr const char* kProgram = "l2a-needle";

std::string some_text(int lines) {
  std::string text;
  for (int i = 0; i < lines; ++i) text += "line " + std::to_string(i * 7919 % 1000) + " of it\n";
  return text;
}

TEST_CASE("a fact is put whole at the start of a line, and asked for at the end") {
  const Tokenizer tokenizer(TokenizerData::from_gguf(*GgufFile::open(model("qwen3-tiny"))));
  const std::string text = some_text(200);
  const std::vector<Token> tokens = tokenizer.encode(text);
  const Needle needle = make_needle(3);
  CHECK(contains(needle.fact, needle.question + " " + needle.number + "."));
  for (const double depth : {0.0, 0.3, 0.5, 1.0}) {
    CAPTURE(depth);
    const std::vector<Token> prompt = hide(needle, tokens, tokenizer, 600, depth);
    CHECK(prompt.size() == 600);
    const std::string all = tokenizer.decode(prompt);
    CHECK(all.ends_with("\n\n" + needle.question));
    const std::size_t at = all.find("\n" + needle.fact + "\n");
    REQUIRE(at != std::string::npos);
    // Around it the text is as it was.
    const std::string before = all.substr(0, at);
    CHECK(text.starts_with(before));
    if (depth < 1) CHECK((before.empty() || before.ends_with('\n')));
    const std::size_t after = at + needle.fact.size() + 2;
    const std::string rest = all.substr(after, all.size() - needle.question.size() - 2 - after);
    CHECK(text.starts_with(before + rest));
    const double place = static_cast<double>(at) / static_cast<double>((before + rest).size());
    CHECK(place == doctest::Approx(depth).epsilon(0.1));
  }
  CHECK(contains(message_of<Error>([&] { hide(needle, tokens, tokenizer, 1 << 20, 0); }),
                 "name more files"));
  CHECK(contains(message_of<Error>([&] { hide(needle, tokens, tokenizer, 40, 0); }), "no room"));
}

TEST_CASE("needles differ, and only the whole number is found") {
  std::set<std::string> numbers;
  for (std::uint64_t i = 0; i < 100; ++i) {
    const Needle needle = make_needle(i);
    numbers.insert(needle.number);
    CHECK(needle.number.size() == 5);
    CHECK(needle.number == make_needle(i).number);
  }
  CHECK(numbers.size() > 95);
  const Needle needle{"", "", "48172"};
  for (const char* answer : {" 48172.", " 48172", "48172\nThe", " the number 48172,"})
    CHECK(found(needle, answer));
  for (const char* answer : {"", " 4817", " 481725", " 12 48172", " none", " 4 8172"})
    CHECK_FALSE(found(needle, answer));
}

NeedleGrid some_grid() {
  NeedleGrid grid;
  grid.model = "a<b>.gguf";
  grid.lengths = {512, 1024};
  grid.depths = {0, 0.5, 1};
  grid.hits = {1, 0, 1, 0, 0, 1};
  grid.trained = 600;
  return grid;
}

TEST_CASE("the table and the image show each cell, and which lengths the model was not made for") {
  NeedleGrid grid = some_grid();
  CHECK(needle_table(grid) ==
        "tokens  depth   0%  50% 100%   found\n"
        "   512           #    .    #   2 of 3\n"
        "  1024*          .    .    #   1 of 3\n"
        "* beyond the 600 tokens that the model was trained for\n");
  const std::string svg = needle_svg(grid);
  for (const char* says :
       {"a&lt;b&gt;.gguf", "prefers-color-scheme: dark", "1024*", "512 tokens, depth 50%: 0 of 1",
        "1024 tokens, depth 100%: 1 of 1", "beyond the 600", "2 of 3"})
    CHECK(contains(svg, says));
  grid.trials = 4;
  grid.trained = 1024;
  CHECK(needle_table(grid) ==
        "tokens  depth   0%  50% 100%   found\n"
        "   512           1    .    1   2 of 12\n"
        "  1024           .    .    1   1 of 12\n");
  CHECK_FALSE(contains(needle_svg(grid), "beyond"));
}

TEST_CASE("a model is asked at every length and depth, with routes as they are asked for") {
  const TemporaryFolder folder;
  const std::string text = folder.write("text.txt", some_text(300)).string();
  const std::string svg = (folder / "grid.svg").string();
  const std::string l2a = model("l2a-qwen3-widen");
  const Ended ended =
      test::run(kProgram, {l2a, "-f", text, "--lengths", "400,200", "--depths", "3", "--svg", svg});
  CHECK(ended.code == 0);
  CHECK(contains(ended.out, "tokens  depth   0%  50% 100%   found"));
  CHECK(ended.out.find("   200") < ended.out.find("   400"));
  CHECK(contains(ended.err, " of 6 facts found; "));
  CHECK(contains(ended.err, "grid.svg: written"));
  CHECK(test::read_file(svg).ends_with("</svg>\n"));
  CHECK(folder.entries() == 2);
  const auto share = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {l2a, "-f", text, "--lengths", "200", "--depths", "2"});
    return json_of(kProgram, more)["routed"]["share"].get<double>();
  };
  CHECK(share({"--route", "forced:1"}) == 1);
  CHECK(share({"--route", "forced:0"}) == 0);
  CHECK(share({"--threshold", "0.999999"}) < share({}));
  const auto dense = json_of(kProgram, {model("qwen3-tiny"), "-f", text, "--lengths", "200",
                                        "--depths", "2", "--trials", "3"});
  CHECK(dense["asked"] == 6);
  CHECK_FALSE(dense.contains("routed"));
}

TEST_CASE("what l2a-needle cannot do is said in one line, and no file is left") {
  const TemporaryFolder folder;
  const std::string text = folder.write("text.txt", some_text(30)).string();
  const std::string dense = model("qwen3-tiny"), svg = (folder / "grid.svg").string();
  const auto fails = [&](const std::vector<std::string>& arguments, int code,
                         std::initializer_list<std::string_view> says) {
    check_fails(kProgram, arguments, code, says, {}, folder.path());
  };
  fails({dense}, 2, {"--file"});
  fails({dense, "-f", text, "--lengths", "10"}, 2, {"--lengths"});
  fails({dense, "-f", text, "--depths", "0"}, 2, {"--depths"});
  fails({dense, "-f", text, "--lengths", "4000", "--svg", svg, "-q"}, 1, {"the text has ", "-f"});
  fails({dense, "-f", text, "--lengths", "200", "--skip", "0.5"}, 1, {"--skip: ", "no router"});
  fails({dense, "-f", text, "--lengths", "200", "--route", "forced:1"}, 1, {"--route: "});
  fails({dense, "-f", text, "--lengths", "200", "--svg", text}, 1, {"--svg: ", "is an input"});
  fails({model("l2a-qwen3-trained"), "-f", text, "--lengths", "200"}, 1, {"no tokenizer"});
  const Ended beyond =
      test::run(kProgram, {dense, "-f", text, "--lengths", "100,200", "--depths", "1"});
  if (contains(beyond.err, "warning")) CHECK(contains(beyond.out, "* beyond the "));
}

}  // namespace
}  // namespace l2a
