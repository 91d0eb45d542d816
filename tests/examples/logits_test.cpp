// l2a-logits as its users see it.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "convert/safetensors.h"
#include "convert/safetensors_writer.h"
#include "models/tokenizer.h"
#include "tests/convert/checkpoint_folder.h"
#include "tests/examples/program.h"

namespace l2a {
namespace {

using test::check_fails;
using test::contains;
using test::Ended;
using test::model;
using test::run;
using test::Setup;
using test::TemporaryFolder;

constexpr const char* kProgram = "l2a-logits";
constexpr const char* kCheckpoint = "l2a-qwen3-pruned";

std::string expected_path() {
  return (test::checkpoint(kCheckpoint).parent_path() / "expected.safetensors").string();
}

template <class T>
std::vector<T> values(const SafetensorsTensor& tensor) {
  std::vector<T> result(tensor.data.size() / sizeof(T));
  std::memcpy(result.data(), tensor.data.data(), tensor.data.size());
  return result;
}

std::string list(const std::vector<Token>& tokens, const char* between) {
  std::string text;
  for (const Token token : tokens) text += std::to_string(token) + between;
  return text;
}

TEST_CASE("l2a-logits writes the logits and routes that are expected, in chunks and one by one") {
  const TemporaryFolder folder;
  const std::string target = (folder / "logits.safetensors").string();
  const Ended ended = run(kProgram, {model(kCheckpoint), "--tokens", expected_path(), "--chunk",
                                     "7", "--decode", "9", "--out", target});
  CHECK(ended.code == 0);
  CHECK(ended.out.empty());
  const Safetensors expected = Safetensors::open_file(expected_path());
  const Safetensors actual = Safetensors::open_file(target);
  CHECK(actual.tensors().size() == 2);
  for (const char* name : {"logits", "route"}) {
    REQUIRE(actual.find(name) != nullptr);
    CHECK(actual.find(name)->shape == expected.find(name)->shape);
  }
  CHECK(actual.find("logits")->type == SafetensorsType::f32);
  CHECK(actual.find("route")->type == SafetensorsType::u8);
  CHECK(values<std::uint8_t>(*actual.find("route")) ==
        values<std::uint8_t>(*expected.find("route")));
  const auto got = values<float>(*actual.find("logits"));
  const auto wanted = values<float>(*expected.find("logits"));
  float worst = 0, largest = 0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    worst = std::max(worst, std::fabs(got[i] - wanted[i]));
    largest = std::max(largest, std::fabs(wanted[i]));
  }
  CHECK(worst < 1e-4F * largest);  // as in tests/models/checkpoint_test.cpp
  CHECK(contains(ended.err, "logits.safetensors: logits ["));
  CHECK(contains(ended.err, ", route [2, "));
}

TEST_CASE(
    "tokens come from a list, a text file, standard input or a tensor, with the same result") {
  const TemporaryFolder folder;
  const auto tokens = values<Token>(*Safetensors::open_file(expected_path()).find("input_ids"));
  SafetensorsWriter writer(folder / "i64.safetensors");
  const std::vector<std::int64_t> wide(tokens.begin(), tokens.end());
  writer.add_tensor("input_ids", SafetensorsType::i64,
                    std::vector{static_cast<std::int64_t>(wide.size())});
  writer.write_values(std::span<const std::int64_t>(wide));
  writer.finish();
  Setup piped;
  piped.text = list(tokens, " ");
  std::string first;
  for (const std::string& given :
       {list(tokens, ","), folder.write("ids.txt", list(tokens, "\n")).string(), std::string("-"),
        expected_path(), (folder / "i64.safetensors").string()}) {
    CAPTURE(given);
    const std::string target = (folder / "logits.safetensors").string();
    const Ended ended =
        run(kProgram, {model(kCheckpoint), "--tokens", given, "--out", target, "--quiet"}, piped);
    CHECK(ended.code == 0);
    CHECK(ended.err.empty());
    const std::string bytes = test::read_file(target);
    if (first.empty()) first = bytes;
    CHECK(bytes == first);
  }
}

TEST_CASE("a dense model has no routes, and a list may be longer than the name of a file") {
  const TemporaryFolder folder;
  const std::string target = (folder / "l.safetensors").string();
  const std::string tokens = list(std::vector<Token>(400, 7), ",");
  CHECK(run(kProgram, {model("qwen3-tiny"), "--tokens", tokens, "-o", target}).code == 0);
  const Safetensors file = Safetensors::open_file(target);
  CHECK(file.find("route") == nullptr);
  CHECK(file.find("logits")->shape == std::vector<std::int64_t>{400, 512});
}

TEST_CASE("l2a-logits refuses tokens that are none, in one line, and leaves no file") {
  const TemporaryFolder folder;
  const std::string empty = folder.write("empty.txt", " \n").string();
  const std::string words = folder.write("words.txt", "1, 2, three").string();
  const auto fails = [&](std::vector<std::string> options, int code,
                         std::initializer_list<std::string_view> says) {
    options.insert(options.begin(),
                   {model(kCheckpoint), "-o", (folder / "l.safetensors").string()});
    check_fails(kProgram, options, code, says, {}, folder.path());
  };
  fails({}, 2, {"--tokens"});
  fails({"--tokens", ""}, 2, {"--tokens", "empty"});
  fails({"--tokens", "1,2,512"}, 1, {"--tokens", "token 2 is 512", "0 to 511"});
  fails({"--tokens", "1,-2"}, 1, {"--tokens", "token 1 is -2"});
  fails({"--tokens", "1,99999999999"}, 1, {"--tokens", "'99999999999'"});
  fails({"--tokens", "none.txt"}, 1, {"--tokens", "'none.txt'", "not a file"});
  fails({"--tokens", ","}, 1, {"--tokens", "no token ids"});
  fails({"--tokens", empty}, 1, {"empty.txt", "no token ids"});
  fails({"--tokens", words}, 1, {"words.txt", "'three'", "byte 6"});
  fails({"--tokens", folder.path().string()}, 1, {"directory"});
  fails({"--tokens", test::checkpoint("l2a-qwen3-tiny").string() + "/model.safetensors"}, 1,
        {"model.safetensors", "input_ids"});
  fails({"--tokens", "1,2", "--decode", "3"}, 1, {"--decode 3", "2 tokens"});
  fails({"--tokens", "1,2", "--decode", "-1"}, 2, {"--decode"});
  fails({"--tokens", "1,2", "--chunk", "0"}, 2, {"--chunk"});
  fails({"--tokens", "1,2", "--type-kv", "q4_0"}, 2, {"--type-kv", "f16"});
}

TEST_CASE("l2a-logits that cannot write its file says so and leaves nothing") {
  const TemporaryFolder folder;
  const auto fails = [&](const std::string& out, std::initializer_list<std::string_view> says,
                         const Setup& setup = {}) {
    check_fails(kProgram, {model(kCheckpoint), "--tokens", "1,2,3,4", "-o", out}, 1, says, setup,
                folder.path());
  };
  fails((folder / "none/l.safetensors").string(), {"none/l.safetensors", "No such file"});
  fails(folder.path().string(), {folder.path().string()});
  fails("/dev/full", {"/dev/full", "not a regular file"});
  fails("/proc/l.safetensors", {"/proc/l.safetensors"});
  fails(model(kCheckpoint), {"--out", "the model itself"});
  Setup small;
  small.largest_file = 4096;
  fails((folder / "l.safetensors").string(), {"l.safetensors", "cannot be written"}, small);
}

}  // namespace
}  // namespace l2a
