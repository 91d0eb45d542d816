// l2a-run --show-routing and --routing-html: who was routed, as it is shown.
#include "examples/common/routing_view.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>
#include <sstream>
#include <string>

#include "tests/examples/perplexity.h"
#include "tests/models/test_model.h"

namespace l2a {
namespace {

using test::check_fails;
using test::contains;
using test::Ended;
using test::json_of;
using test::model;
using test::Setup;
using test::TemporaryFolder;

constexpr const char* kProgram = "l2a-run";
constexpr const char* kModel = "l2a-qwen3-pruned";  // 4 layers; 1 and 3 are pruned

std::vector<std::string> arguments(std::vector<std::string> more = {}) {
  std::vector<std::string> all = {model(kModel), "-p",      "hello <&> \x1b[2J you",
                                  "--raw",       "-n",      "20",
                                  "--temp",      "0",       "--ctx",
                                  "64",          "--chunk", "5"};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

struct Line {
  std::size_t token = 0;
  std::string share, signs, text;
};

std::vector<Line> lines_of(const std::string& out) {
  std::istringstream in(out);
  std::string text;
  std::getline(in, text);
  CHECK(contains(text, "layers 0 to 3: # routed, . not, - no router"));
  std::vector<Line> lines;
  while (std::getline(in, text) && !text.empty()) {
    std::istringstream words(text);
    Line line;
    words >> line.token >> line.share >> line.signs;
    line.text = nlohmann::json::parse(text.substr(text.find('"'))).get<std::string>();
    lines.push_back(line);
  }
  return lines;
}

TEST_CASE("without colours there is a line a token, with the layers that the statistics count") {
  const Ended ended = test::run(kProgram, arguments({"--show-routing"}));
  REQUIRE(ended.code == 0);
  CHECK_FALSE(contains(ended.out, "\x1b"));
  const std::vector<Line> lines = lines_of(ended.out);
  const auto figures = json_of(kProgram, arguments());
  const std::int64_t ran = figures["prompt_tokens"].get<std::int64_t>() +
                           figures["generated_tokens"].get<std::int64_t>() - 1;
  std::string text;
  double share = 0;
  std::vector<double> routed(4);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    const Line& line = lines[i];
    text += line.text;
    REQUIRE(line.signs.size() == 4);
    CHECK(line.signs[1] == '-');
    CHECK(line.signs[3] == '-');
    for (const std::size_t layer : {0U, 2U}) {
      CHECK(contains("#.", std::string_view(line.signs).substr(layer, 1)));
      routed[layer] += line.signs[layer] == '#' ? 1 : 0;
    }
    if (i + 1 == lines.size()) continue;
    share += std::stod(line.share) / 100 * static_cast<double>(lines[i + 1].token - line.token);
  }
  CHECK(text == "hello <&> \x1b[2J you" + figures["text"].get<std::string>());
  // The last token was sampled, and never run.
  REQUIRE(lines.back().token == static_cast<std::size_t>(ran));
  CHECK(lines.back().share == "-");
  const auto tokens = static_cast<double>(ran);
  CHECK(share / tokens == doctest::Approx(figures["routed"]["share"].get<double>()).epsilon(1e-3));
  // A line of several tokens, as of half a character each, shows what any of them routed.
  const double merged = tokens + 1 - static_cast<double>(lines.size());
  for (const std::size_t layer : {0U, 2U}) {
    const double exact = figures["routed"]["layers"][layer].get<double>() * tokens;
    CHECK(routed[layer] <= exact + 1e-6);
    CHECK(routed[layer] >= exact - merged - 1e-6);
  }
  CHECK(contains(ended.err, "skipped       of the reads past 12 tokens: prompt "));
}

TEST_CASE("on a terminal the text is coloured, and what it holds does not move the cursor" *
          doctest::skip(!test::has_terminals())) {
  Setup setup;
  setup.on_terminal = true;
  const Ended ended = test::run(kProgram, arguments({"--show-routing"}), setup);
  REQUIRE(ended.code == 0);
  CHECK(contains(ended.out, "routed by none of 2 layers"));
  CHECK(contains(ended.out, "\x1b[48;5;"));
  CHECK_FALSE(contains(ended.out, "\x1b[2J"));
  setup.environment = {"NO_COLOR=1"};
  const Ended plain = test::run(kProgram, arguments({"--show-routing"}), setup);
  CHECK_FALSE(contains(plain.out, "\x1b"));
  CHECK(contains(plain.out, "# routed"));
}

TEST_CASE("--routing-html writes a page that needs nothing else, with the text escaped") {
  const TemporaryFolder folder;
  const std::string path = (folder / "routing.html").string();
  const Ended ended = test::run(kProgram, arguments({"--routing-html", path}));
  REQUIRE(ended.code == 0);
  CHECK(contains(ended.err, "routing.html: written"));
  CHECK(ended.out == test::run(kProgram, arguments({"-q"})).out);  // the text as ever
  const std::string page = test::read_file(path);
  for (const char* says : {"<!doctype html>", "prefers-color-scheme: dark", "<h2>Answer</h2>",
                           "&lt;", "&amp;", "data-is=\"token 0: ", "layer 2: ", "</html>"})
    CHECK(contains(page, says));
  for (const char* never : {"http", "<script", "<link", "url(", "nan", "layer 1: ", "<&", "&>"})
    CHECK_FALSE(contains(page, never));
  CHECK(folder.entries() == 1);
}

TEST_CASE("routing that cannot be shown is refused before the model answers") {
  const TemporaryFolder folder;
  const auto fails = [&](std::vector<std::string> options, int code,
                         std::initializer_list<std::string_view> says) {
    check_fails(kProgram, options, code, says, {}, folder.path());
  };
  const std::string html = (folder / "r.html").string(), dense = model("qwen3-tiny");
  fails({dense, "-p", "x", "--show-routing"}, 1, {"--show-routing: ", "no layer with a router"});
  fails({dense, "-p", "x", "--routing-html", html}, 1, {"--routing-html: ", "no layer with a"});
  fails(arguments({"--routing-html", (folder / "no" / "r.html").string()}), 1, {"r.html"});
  fails(arguments({"--routing-html", model(kModel)}), 1, {"--routing-html: ", "is an input"});
  fails({model(kModel), "--chat", "--show-routing"}, 2, {"--show-routing", "--chat"});
  fails(arguments({"--show-routing", "--json"}), 2, {"--show-routing", "--json"});
  Setup full;
  full.largest_file = 2000;  // enough for the answer
  const Ended ended = test::run(kProgram, arguments({"--routing-html", html, "-q"}), full);
  CHECK(ended.code == 1);
  CHECK(contains(ended.err, "r.html"));
  CHECK(folder.entries() == 0);
}

TEST_CASE("a share takes the first colour that it does not exceed") {
  CHECK(share_step(0) == 0);
  CHECK(share_step(1e-6) == 1);
  CHECK(share_step(0.1) == 1);
  CHECK(share_step(0.11) == 2);
  CHECK(share_step(1) == kShareSteps.size());
  CHECK(share_step(1 + 1e-9) == kShareSteps.size());
}

}  // namespace
}  // namespace l2a
