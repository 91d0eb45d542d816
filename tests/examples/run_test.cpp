// l2a-run as its users see it: text, figures, errors. What needs a terminal is in chat_test.cpp.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <string>

#include "tests/examples/program.h"

namespace l2a {
namespace {

using nlohmann::json;
using test::check_fails;
using test::contains;
using test::Ended;
using test::model;
using test::Output;
using test::Program;
using test::Setup;
using test::TemporaryFolder;

constexpr const char* kProgram = "l2a-run";
constexpr const char* kModel = "l2a-qwen3-pruned";  // 4 layers; 1 and 3 are pruned

using Arguments = std::vector<std::string>;

Ended run(Arguments options, const Setup& setup = {}, const char* checkpoint = kModel) {
  options.insert(options.begin(), model(checkpoint));
  return test::run(kProgram, options, setup);
}

// The greedy answer to "hello".
std::string answer(Arguments options, const char* checkpoint = kModel) {
  options.insert(options.begin(), {"-p", "hello", "-n", "24", "--temp", "0", "--quiet"});
  const Ended ended = run(options, {}, checkpoint);
  CHECK(ended.code == 0);
  CHECK(ended.err.empty());
  return ended.out;
}

json figures(Arguments options, const char* checkpoint = kModel) {
  options.emplace_back("--json");
  const Ended ended = run(options, {}, checkpoint);
  CHECK(ended.code == 0);
  CHECK(ended.err.empty());
  json object = json::parse(ended.out, nullptr, false);
  REQUIRE(object.is_object());  // and nothing else on standard output
  return object;
}

void fails(Arguments options, int code, std::initializer_list<std::string_view> says,
           const Setup& setup = {}) {
  options.insert(options.begin(), model(kModel));
  check_fails(kProgram, options, code, says, setup);
}

TEST_CASE("the text goes to stdout, the figures to stderr, without colours") {
  const Ended ended = run({"-p", "hello", "-n", "24", "--temp", "0"});
  CHECK(ended.code == 0);
  CHECK(ended.out == answer({}));
  CHECK(ended.out.ends_with('\n'));
  for (const char* label : {"first token", "prefill", "decode", "KV cache", "routed"}) {
    CHECK(contains(ended.err, label));
    CHECK(!contains(ended.out, label));
  }
  CHECK(!contains(ended.out + ended.err, "\x1b"));
}

TEST_CASE("--json prints one object with text and figures") {
  const json object = figures({"-p", "hello", "-n", "8", "--temp", "0"});
  CHECK(object["model"] == "l2a-qwen3-pruned-f32.gguf");
  CHECK(object["architecture"] == "l2a-qwen3");
  CHECK(object["backend"] == "cpu");
  CHECK(object["generated_tokens"] == 8);
  CHECK(object["stopped_by"] == "length");
  CHECK(answer({}).starts_with(object["text"].get<std::string>().substr(0, 4)));
  for (const char* field : {"load_seconds", "first_token_seconds", "prefill_tokens_per_second",
                            "decode_tokens_per_second", "arena_bytes"}) {
    CAPTURE(field);
    CHECK(object[field].get<double>() > 0);
  }
  // 256 bytes a position and layer: 4 rings of 12, and 2 layers with all of the prompt and 7 tokens.
  const auto positions = object["prompt_tokens"].get<int>() + 7;
  CHECK(object["cache_bytes"]["local"] == 4 * 12 * 256);
  CHECK(object["cache_bytes"]["global"] == 2 * positions * 256);
  const json& layers = object["routed"]["layers"];
  REQUIRE(layers.size() == 4);
  CHECK(layers[1].is_null());
  CHECK(layers[3].is_null());
  CHECK(object["routed"]["share"].get<double>() ==
        doctest::Approx((layers[0].get<double>() + layers[2].get<double>()) / 2));
}

TEST_CASE("--ops says where the time went, in prefill and in decode") {
  const Ended ended = run({"-p", "hello", "-n", "4", "--temp", "0", "--ops"});
  CHECK(ended.code == 0);
  for (const char* says : {"\nprefill  ", "\ndecode  ", "\n  matmul ", "\n  attention ", " GB/s "})
    CHECK(contains(ended.err, says));
  CHECK(ended.out == run({"-p", "hello", "-n", "4", "--temp", "0"}).out);
  const json object = figures({"-p", "hello", "-n", "4", "--temp", "0", "--ops"});
  const std::int64_t decoded = object["generated_tokens"].get<std::int64_t>() - 1;
  for (const char* phase : {"prefill", "decode"}) {
    CAPTURE(phase);
    const json& ops = object["ops"][phase];
    CHECK(ops["matmul"]["seconds"] > 0);
    CHECK(ops["matmul"]["operations"] > 0);
    CHECK(ops["argmax"]["calls"] == (phase == std::string("decode") ? decoded : 1));
  }
  CHECK_FALSE(figures({"-p", "hello", "-n", "4"}).contains("ops"));
}

TEST_CASE("a dense model's figures say nothing of routing, and its caches all grow") {
  const json object = figures({"-p", "hello", "-n", "4", "--temp", "0"}, "qwen3-tiny");
  CHECK(!object.contains("routed"));
  CHECK(object["cache_bytes"]["local"] == 0);
  CHECK(object["cache_bytes"]["global"] == 3 * 256 * (object["prompt_tokens"].get<int>() + 3));
}

TEST_CASE("the greedy answer does not depend on threads, chunks or the backend") {
  for (const char* checkpoint : {kModel, "l2a-llama-widen", "qwen3-tiny"}) {
    CAPTURE(checkpoint);
    const std::string expected = answer({}, checkpoint);
    CHECK(expected == answer({}, checkpoint));
    CHECK(expected == answer({"--threads", "1"}, checkpoint));
    CHECK(expected == answer({"--threads", "2"}, checkpoint));
    CHECK(expected == answer({"--chunk", "1"}, checkpoint));
    CHECK(expected == answer({"--backend", "reference"}, checkpoint));
    for (const char* layers : {"0", "2", "1000"})
      CHECK(expected == answer({"--backend", "reference", "--gpu-layers", layers}, checkpoint));
  }
}

TEST_CASE("a seed gives the same text again, and another one another text") {
  const auto with_seed = [](const char* seed) {
    return run({"-p", "hello", "-n", "40", "--temp", "1.5", "--top-k", "0", "--seed", seed, "-q"})
        .out;
  };
  CHECK(with_seed("7") == with_seed("7"));
  CHECK(with_seed("7") != with_seed("8"));
  CHECK(with_seed("18446744073709551615").size() > 1);
}

TEST_CASE("an answer ends after -n tokens, or where the context does") {
  for (const char* most : {"1", "5"}) {
    const json object = figures({"-p", "hello", "-n", most, "--temp", "0"});
    CHECK(object["generated_tokens"] == std::stoi(most));
    CHECK(object["stopped_by"] == "length");
  }
  const json full = figures({"-p", "hello", "-n", "268435456", "--temp", "0", "--ctx", "30"});
  CHECK(full["stopped_by"] == "context");
  CHECK(full["prompt_tokens"].get<int>() + full["generated_tokens"].get<int>() == 31);
}

TEST_CASE("the text of -f comes before the prompt, from a file or from standard input") {
  const TemporaryFolder folder;
  const std::string file = folder.write("a.txt", "once upon").string();
  const auto text = [](Arguments options, const Setup& setup = {}) {
    options.insert(options.end(), {"-n", "12", "--temp", "0", "-q", "--raw"});
    const Ended ended = run(options, setup);
    CHECK(ended.code == 0);
    return ended.out;
  };
  const std::string both = text({"-p", "once upon\n\na time"});
  CHECK(text({"-f", file, "-p", "a time"}) == both);
  CHECK(text({"-f", file}) == text({"-p", "once upon"}));
  Setup piped;
  piped.text = "once upon";
  CHECK(text({"-f", "-", "-p", "a time"}, piped) == both);
}

TEST_CASE("l2a-run --help teaches by example") {
  const Ended help = test::run(kProgram, {"--help"});
  CHECK(help.code == 0);
  for (const char* part :
       {"l2a-run model.gguf -p '", "--chat --system", "Exit codes", "NO_COLOR"}) {
    CHECK(contains(help.out, part));
  }
}

TEST_CASE("wrong usage of l2a-run exits with 2 before the model is opened") {
  const auto wrong = [](Arguments options, std::initializer_list<std::string_view> says) {
    options.insert(options.begin(), "/none.gguf");
    check_fails(kProgram, options, 2, says);
  };
  check_fails(kProgram, {}, 2, {"MODEL"});
  check_fails(kProgram, {"", "-p", "hi"}, 2, {"MODEL", "empty"});
  wrong({}, {"-p", "-f", "--chat"});
  wrong({"-p", ""}, {"-p", "-f", "--chat"});
  wrong({"-p", "hi", "--what"}, {"--what"});
  wrong({"-p", "hi", "--" + std::string(100'000, 'x')}, {"xxx"});
  wrong({"-p", "hi", "another.gguf"}, {"another.gguf"});
  wrong({"-p"}, {"--prompt", "one value"});
  wrong({"-p", "hi", "-p", "ho"}, {"--prompt", "one value"});
  wrong({"--chat", "--json"}, {"--chat", "--json"});
  wrong({"--chat", "-f", "-"}, {"--chat", "-f"});
  wrong({"-p", "hi", "--think", "--no-think"}, {"--think", "--no-think"});
  wrong({"-p", "hi", "--ops", "--quiet"}, {"--ops", "--quiet"});
  wrong({"-p", "hi", "--raw", "--system", "x"}, {"--raw", "--system"});
  wrong({"-p", "hi", "--backend", "gpu"}, {"--backend", "gpu", "reference"});
  for (const char* option : {"--temp", "--top-p", "--min-p", "--repeat-penalty"}) {
    for (const char* value : {"-1", "nan", "inf", "warm", ""}) {
      wrong({"-p", "hi", option, value}, {option});
    }
  }
  for (const char* option :
       {"--top-k", "--repeat-window", "--threads", "--tokens", "--ctx", "--chunk"}) {
    for (const char* value : {"-1", "1.5", "99999999999999999999", "many", ""}) {
      wrong({"-p", "hi", option, value}, {option});
    }
  }
  for (const char* seed : {"-1", "18446744073709551616", "1.5", "x", ""}) {
    wrong({"-p", "hi", "--seed", seed}, {"--seed", "whole number"});
  }
  wrong({"-p", "hi", "--top-p", "0"}, {"--top-p", "'0'", "above 0"});
  wrong({"-p", "hi", "-n", "0"}, {"--tokens"});
  wrong({"-p", "hi", "-t", "1025"}, {"--threads", "1024"});
}

TEST_CASE("what the device has no room for runs on the CPU, and the answer is the same") {
  const std::string expected = answer({}, "qwen3-tiny");
  bool split = false;
  for (const char* memory : {"1", "1800k", "2100k", "1g"}) {
    CAPTURE(memory);
    const Ended ended = run({"-p", "hello", "-n", "24", "--temp", "0", "--quiet", "--backend",
                             "reference", "--device-memory", memory},
                            {}, "qwen3-tiny");
    CHECK(ended.code == 0);
    CHECK(ended.out == expected);
    const bool everything = memory == std::string("1g");
    CHECK(contains(ended.err, "the rest on the CPU") == !everything);
    split = split || contains(ended.err, ": 1 of 3 layers run there") ||
            contains(ended.err, ": 2 of 3 layers run there");
  }
  CHECK(split);
  fails({"-p", "hi", "--device-memory", "much"}, 2, {"--device-memory"});
}

TEST_CASE("--gpu-layers needs a backend beside the CPU's") {
  fails({"-p", "hi", "--gpu-layers", "1"}, 1, {"--gpu-layers", "--backend"});
  fails({"-p", "hi", "--gpu-layers", "-1"}, 2, {"--gpu-layers"});
}

TEST_CASE("a prompt that is longer than the context is refused with both numbers") {
  const int tokens = figures({"-p", "hello", "-n", "1"})["prompt_tokens"].get<int>();
  fails({"-p", "hello", "--ctx", "4"}, 1,
        {"has " + std::to_string(tokens) + " tokens", "holds 4", "--ctx"});
}

TEST_CASE("text that is not UTF-8 is refused with the byte of the text that was given") {
  const TemporaryFolder folder;
  const std::string file = folder.write("bad.txt", "abc\xff").string();
  fails({"-p", "ab\xff"}, 1, {"--prompt", "UTF-8", "at byte 2"});
  fails({"-p", "hi", "--system", "\xff"}, 1, {"--system", "at byte 0"});
  fails({"-f", file, "-p", "hi"}, 1, {file, "at byte 3"});
  Setup piped;
  piped.text = "abcd\xff";
  fails({"-f", "-"}, 1, {"standard input", "at byte 4"}, piped);
}

TEST_CASE("a prompt file that cannot be used is named") {
  const TemporaryFolder folder;
  fails({"-f", "/none.txt"}, 1, {"/none.txt", "cannot be opened"});
  fails({"-f", folder.path().string()}, 1, {folder.path().string(), "directory"});
  const std::string empty = folder.write("empty.txt", "").string();
  fails({"-f", empty}, 1, {empty, "is empty"});
}

TEST_CASE("a file that is no model is named, whatever is wrong with it") {
  const TemporaryFolder folder;
  const auto refused = [&](const std::string& path, std::string_view why) {
    check_fails(kProgram, {path, "-p", "hi"}, 1, {path, why});
  };
  refused("/none.gguf", "cannot be opened");
  refused(folder.path().string(), "directory");
  refused(folder.write("empty.gguf", "").string(), "is empty");
  refused(folder.write("words.gguf", "\x1b[2Jwords, words").string(), "not a GGUF file");
  const std::string pipe = (folder / "pipe.gguf").string();
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  refused(pipe, "not a regular file");
  const std::string whole = test::read_file(model("qwen3-tiny"));
  for (const std::size_t size : {std::size_t{3}, std::size_t{4}, std::size_t{20}, std::size_t{100},
                                 std::size_t{5000}, whole.size() / 2, whole.size() - 1}) {
    refused(folder.write("part.gguf", whole.substr(0, size)).string(), "");
  }
}

TEST_CASE("a model without a tokenizer or a chat template says what to use instead") {
  check_fails(kProgram, {model("l2a-qwen3-trained"), "-p", "hi"}, 1,
              {"l2a-qwen3-trained", "no tokenizer", "l2a-logits"});
  const TemporaryFolder folder;
  std::string bytes = test::read_file(model("qwen3-tiny"));
  bytes[bytes.find("tokenizer.chat_template")] = 'x';
  const std::string bare = folder.write("bare.gguf", bytes).string();
  check_fails(kProgram, {bare, "--chat"}, 1, {bare, "no chat template", "-p"});
  check_fails(kProgram, {bare, "-p", "hi", "--system", "x"}, 1, {bare, "no chat template"});
  CHECK(test::run(kProgram, {bare, "-p", "hi", "-n", "2"}).code == 0);
}

TEST_CASE(
    "output that cannot be written ends l2a-run with one line, a reader that left with none") {
  Setup setup;
  setup.output = Output::full;
  fails({"-p", "hello", "-n", "4", "-q"}, 1, {"standard output", "No space left"}, setup);
  fails({"-p", "hello", "-n", "4", "--json"}, 1, {"standard output", "No space left"}, setup);
  setup.output = Output::closed;
  fails({"-p", "hello", "-n", "4"}, 1, {"standard output"}, setup);
  setup.output = Output::unread;
  const Ended ended = run({"-p", "hello", "-n", "4"}, setup);
  CHECK(ended.code == -SIGPIPE);
  CHECK(ended.err.empty());
}

TEST_CASE("a context beyond any memory works as far as it is used, or fails in one line") {
  const Arguments options = {"-p", "hello", "-n", "2", "--temp", "0", "-q", "--ctx", "268435456"};
  if (run(options).code != 0) fails(options, 1, {"KV caches of 268435456 tokens", "bytes"});
}

// The sanitizer's shadow takes more addresses than this allows.
TEST_CASE("more threads than there is memory for are refused in one line" *
          doctest::skip(test::kAddressSanitizer)) {
  Setup setup;
  setup.largest_memory = std::size_t{2} << 30;  // 1024 stacks of 8 MiB take 8 GiB
  fails({"-p", "hello", "-n", "2", "-t", "1024"}, 1, {"1024 CPU threads"}, setup);
}

TEST_CASE("Ctrl-C stops the answer, which keeps its text and figures, with exit code 130") {
  Program program(kProgram,
                  {model(kModel), "-p", "hello", "--temp", "0", "-n", "100000", "--ctx", "131072"});
  CHECK(program.shows_more_than(0));
  program.send(SIGINT);
  const Ended ended = program.wait();
  CHECK(ended.code == 130);
  CHECK(ended.out.size() > 1);
  CHECK(contains(ended.err, "first token"));
}

}  // namespace
}  // namespace l2a
