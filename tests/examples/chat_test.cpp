// l2a-run --chat, from a pipe and on a terminal, and what else l2a-run does only on a terminal.
#include <doctest/doctest.h>

#include <cstdio>
#include <string>

#include "tests/examples/program.h"

namespace l2a {
namespace {

using test::contains;
using test::Ended;
using test::model;
using test::Program;
using test::Setup;

constexpr const char* kProgram = "l2a-run";
constexpr const char* kModel = "l2a-qwen3-pruned";
constexpr const char* kControlC = "\x03";
constexpr const char* kControlD = "\x04";

std::vector<std::string> with_model(std::vector<std::string> options) {
  options.insert(options.begin(), model(kModel));
  return options;
}

Ended chat(std::string lines, std::vector<std::string> options = {}) {
  Setup setup;
  setup.text = std::move(lines);
  options.insert(options.end(), {"--chat", "-n", "6", "--temp", "0"});
  return test::run(kProgram, with_model(options), setup);
}

// Of each turn, the prompt tokens that were run and the positions that are then in the caches.
struct Turn {
  int prefilled;
  double positions;
};

std::vector<Turn> turns(const std::string& figures) {
  std::vector<Turn> found;
  for (std::size_t at = figures.find("prefill"); at != std::string::npos;
       at = figures.find("prefill", at + 1)) {
    Turn turn{};
    double rate = 0, kib = 0;
    CHECK(std::sscanf(figures.c_str() + at, "prefill %lf tokens/s %d", &rate, &turn.prefilled) ==
          2);
    CHECK(std::sscanf(figures.c_str() + figures.find("global ", at), "global %lf", &kib) == 1);
    turn.positions = kib * 1024 / 512;  // 2 layers with 256 bytes a position
    found.push_back(turn);
  }
  return found;
}

TEST_CASE("each line of a chat is answered, and the conversation before it is not run again") {
  const Ended ended = chat("hello\nand now\n");
  CHECK(ended.code == 0);
  const std::string first =
      test::run(kProgram, with_model({"-p", "hello", "-n", "6", "--temp", "0", "-q"})).out;
  CHECK(ended.out.starts_with(first));
  CHECK(ended.out.size() > first.size());
  CHECK(!contains(ended.out, "> "));  // there is nobody to ask
  const std::vector<Turn> found = turns(ended.err);
  REQUIRE(found.size() == 2);
  const double second_prompt = found[1].positions - 5;
  CHECK(second_prompt > found[0].prefilled + 6);
  CHECK(found[1].prefilled < second_prompt - found[0].prefilled + 1);
}

TEST_CASE("/clear forgets the conversation, /exit ends it, and empty lines are nothing") {
  const Ended once = chat("hello\n", {"-q"});
  CHECK(once.err.empty());
  CHECK(chat("hello\n\n/clear\nhello\n/exit\nhello\n", {"-q"}).out == once.out + once.out);
  CHECK(chat("/exit\n").out.empty());
  CHECK(chat("hello", {"-q"}).out == once.out);  // the last line may be unfinished
}

TEST_CASE("a chat begins with -p, and ends at once without input") {
  CHECK(chat("", {"-p", "hello", "-q"}).out == chat("hello\n", {"-q"}).out);
  CHECK(chat("").code == 0);
  Setup closed;
  closed.input = test::Input::closed;
  const Ended ended = test::run(kProgram, with_model({"--chat"}), closed);
  CHECK(ended.code == 0);
  CHECK(ended.out.empty());
}

TEST_CASE("a line that cannot be answered is complained about, and the chat goes on") {
  const std::string answer = chat("hello\n", {"-q"}).out;
  const Ended bytes = chat("a\xff\nhello\n", {"-q"});
  CHECK(bytes.code == 1);
  CHECK(bytes.out == answer);
  CHECK(bytes.err == "l2a-run: the line: is not valid UTF-8 at byte 1\n");
  const Ended length = chat("hello " + std::string(500, 'x') + "\nhello\n", {"-q", "--ctx", "64"});
  CHECK(length.code == 1);
  CHECK(length.out == answer);
  CHECK(contains(length.err, "the context holds 64"));
}

TEST_CASE("a chat that cannot write its answer ends") {
  Setup setup;
  setup.text = "hello\nhello\n";
  setup.output = test::Output::full;
  test::check_fails(kProgram, with_model({"--chat", "-n", "4", "-q"}), 1, {"standard output"},
                    setup);
}

Setup terminal(std::vector<std::string> environment = {}) {
  Setup setup;
  setup.on_terminal = true;
  setup.environment = std::move(environment);
  return setup;
}

TEST_CASE("figures are coloured on a terminal, unless NO_COLOR or the terminal's kind says no" *
          doctest::skip(!test::has_terminals())) {
  const auto shown = [](const Setup& setup) {
    const Ended ended =
        test::run(kProgram, with_model({"-p", "hello", "-n", "4", "--temp", "0"}), setup);
    CHECK(ended.code == 0);
    CHECK(contains(ended.out, "first token"));
    return ended.out;
  };
  CHECK(contains(shown(terminal()), "\x1b["));
  CHECK(contains(shown(terminal({"NO_COLOR="})), "\x1b["));  // as no-color.org has it
  CHECK(!contains(shown(terminal({"NO_COLOR=1"})), "\x1b["));
  CHECK(!contains(shown(terminal({"TERM=dumb"})), "\x1b["));
}

TEST_CASE("Ctrl-C in the middle of a prompt gives figures of what was run, and no first token" *
          doctest::skip(!test::has_terminals())) {
  const test::TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 15'000; ++i) text += "a b ";
  const std::string file = folder.write("long.txt", text).string();
  Program program(kProgram, with_model({"-f", file, "--raw"}), terminal({"NO_COLOR=1"}));
  CHECK(program.shows("tokens of "));  // the progress bar
  const std::string shown = program.shown();
  int total = 0;
  CHECK(std::sscanf(shown.c_str() + shown.find("tokens of "), "tokens of %d", &total) == 1);
  program.type(kControlC);
  const Ended ended = program.wait();
  CHECK(ended.code == 130);
  CHECK(contains(ended.out, "first token   none"));
  const std::vector<Turn> found = turns(ended.out);
  REQUIRE(found.size() == 1);
  CHECK(found[0].prefilled > 0);
  CHECK(found[0].prefilled < total);
}

TEST_CASE("on a terminal a chat asks for lines until Ctrl-D" *
          doctest::skip(!test::has_terminals())) {
  Program program(kProgram, with_model({"--chat", "-n", "4", "--temp", "0"}),
                  terminal({"NO_COLOR=1"}));
  CHECK(program.shows("> "));
  program.type("hello\n");
  CHECK(program.shows("\r\n\r\n> "));  // after the figures
  program.type(kControlD);
  CHECK(program.wait().code == 0);
}

TEST_CASE("Ctrl-C instead of a line ends a chat with 130, on a line of its own" *
          doctest::skip(!test::has_terminals())) {
  Program program(kProgram, with_model({"--chat"}), terminal({"NO_COLOR=1"}));
  CHECK(program.shows("> "));
  program.type(std::string("hel") + kControlC);
  const Ended ended = program.wait();
  CHECK(ended.code == 130);
  CHECK(ended.out.ends_with("^C\r\n"));
}

TEST_CASE("Ctrl-C stops an answer and the chat goes on" * doctest::skip(!test::has_terminals())) {
  Program program(kProgram,
                  with_model({"--chat", "-n", "100000", "--ctx", "131072", "--temp", "0"}),
                  terminal({"NO_COLOR=1"}));
  CHECK(program.shows("> "));
  program.type("hello\n");
  CHECK(program.shows("hello\r\n"));
  CHECK(program.shows_more_than(program.shown().size() + 8));
  program.type(kControlC);
  CHECK(program.shows("first token"));
  CHECK(program.shows("\r\n\r\n> "));
  program.type(kControlD);
  CHECK(program.wait().code == 0);
}

}  // namespace
}  // namespace l2a
