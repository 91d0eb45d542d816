// l2a-compare as its users see it.
#include <doctest/doctest.h>

#include <cmath>
#include <map>
#include <sstream>

#include "graph/error.h"
#include "tests/examples/program.h"

namespace l2a {
namespace {

using test::check_fails;
using test::contains;
using test::Ended;
using test::model;
using test::TemporaryFolder;

constexpr const char* kProgram = "l2a-compare";
constexpr const char* kModel = "l2a-qwen3-pruned";  // 4 layers; 1 and 3 are pruned
using Arguments = std::vector<std::string>;

std::string compare(const std::string& file, const std::string& backends, Arguments options = {}) {
  options.insert(options.begin(), {file, "--backends", backends, "-n", "6"});
  const Ended ended = test::run(kProgram, options);
  CHECK(ended.code == 0);
  CHECK(ended.err.empty());
  return ended.out;
}

struct Row {
  double largest = NAN, mean = NAN;
  std::string rest;
};
// The rows below a heading that starts so.
std::map<std::string, Row> table(const std::string& out, const std::string& heading) {
  std::map<std::string, Row> rows;
  const std::size_t at = out.find(concat("\n", heading));
  REQUIRE(at != std::string::npos);
  std::istringstream lines(out.substr(at + 1));
  std::string line, name;
  std::getline(lines, line);
  while (std::getline(lines, line) && !line.empty()) {
    std::istringstream words(line);
    Row row;
    words >> name >> row.largest >> row.mean;
    std::getline(words, row.rest);
    rows[name] = row;
  }
  return rows;
}

TEST_CASE("backends that agree are told to, op by op, layer by layer, route by route") {
  for (const char* cache : {"f32", "f16"}) {
    const std::string out = compare(model(kModel), "cpu,reference", {"--type-kv", cache});
    const auto ops = table(out, "reference, by op");
    const double tolerance = cache == std::string("f32") ? 1e-5 : 1e-2;  // of an f16's last bit
    for (const char* op : {"matmul", "attention", "rope", "rms_norm", "kv_append", "gather_rows",
                           "scatter_add_rows", "silu_mul", "add", "rope_table"}) {
      CAPTURE(op);
      REQUIRE(ops.count(op) == 1);
      CHECK(ops.at(op).largest < tolerance);
      CHECK(ops.at(op).mean <= ops.at(op).largest);
    }
    CHECK(ops.at("matmul").largest > 0);  // the two add in another order
    CHECK(contains(ops.at("matmul").rest, "matmul."));
    const auto layers = table(out, "reference, by layer");
    CHECK(layers.size() == 5);
    CHECK(contains(layers.at("0").rest, "100.00%"));
    CHECK(contains(layers.at("2").rest, "100.00%"));
    CHECK(layers.at("1").rest.empty());
    CHECK(layers.at("head").rest.empty());
    CHECK(contains(out, "reference writes the same 6 tokens as cpu: "));
    for (const char* phase : {"prefill, ms", "decode, ms"}) {
      const auto times = table(out, phase);
      CHECK(times.at("matmul").largest > 0);
      CHECK(times.at("matmul").mean > 0);
      CHECK(times.at("all").largest > times.at("matmul").largest);
    }
  }
}

TEST_CASE("a backend compared with itself has no error") {
  const std::string out = compare(model(kModel), "cpu,cpu", {"-p", "one two three four five six"});
  for (const char* heading : {"cpu, by op", "cpu, by layer"}) {
    for (const auto& row : table(out, heading)) {
      CAPTURE(row.first);
      CHECK(row.second.largest == 0);
      CHECK(row.second.mean == 0);
    }
  }
}

// The CPU multiplies quantized weights with activations of eight bits, the reference code with all of theirs.
TEST_CASE("what differs is found where it differs") {
  const std::string out = compare(model("qwen3-tiny", Dtype::q8_0), "reference,cpu");
  const auto ops = table(out, "cpu, by op");
  CHECK(ops.at("matmul").largest > 1e-4);
  CHECK(ops.at("matmul").largest < 0.5);
  CHECK(ops.at("rope_table").largest < 1e-6);
  CHECK(ops.at("row_lookup").largest == 0);
  CHECK(table(out, "cpu, by layer").at("head").largest > 1e-4);
}

TEST_CASE("a model without a tokenizer is compared on token ids, and its text is ids") {
  std::string tokens = "1";
  for (int i = 2; i < 60; ++i) tokens += concat(",", i * 7 % 64);
  const std::string out = compare(model("l2a-qwen3-trained"), "cpu,reference",
                                  {"--tokens", tokens, "--chunk", "13", "--decode", "20"});
  CHECK(contains(out, "59 tokens, the last 20 of them one by one"));
  CHECK(contains(out, "the same 6 tokens as cpu: "));
  const std::string text = out.substr(out.find("tokens as cpu: ") + 15);
  CHECK(text.substr(0, text.find('\n')).find_first_not_of("0123456789 ") == std::string::npos);
  CHECK(contains(table(out, "reference, by layer").at("0").rest, "100.00%"));
}

TEST_CASE("--html writes a page that needs nothing else") {
  const TemporaryFolder folder;
  const std::string path = (folder / "report.html").string();
  const Ended ended = test::run(
      kProgram, {model(kModel), "--backends", "cpu,reference,cpu", "-n", "4", "--html", path});
  CHECK(ended.code == 0);
  CHECK(contains(ended.err, "report.html: written"));
  const std::string page = test::read_file(path);
  for (const char* says : {"<!doctype html>", "prefers-color-scheme: dark", "<svg ", "<polyline ",
                           "<rect ", "Error by layer", "Time in decode", "100.00%", "</html>"})
    CHECK(contains(page, says));
  for (const char* never : {"http", "<script", "<link", "url(", "nan", "inf\""})
    CHECK_FALSE(contains(page, never));
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(folder.path()))
    ++files;
  CHECK(files == 1);
}

TEST_CASE("wrong usage of l2a-compare is one line, and leaves no file") {
  const TemporaryFolder folder;
  const auto fails = [&](Arguments options, int code,
                         std::initializer_list<std::string_view> says) {
    options.insert(options.begin(), model(kModel));
    check_fails(kProgram, options, code, says, {}, folder.path());
  };
  const std::string html = (folder / "report.html").string();
  fails({}, 2, {"--backends"});
  fails({"--backends", "cpu"}, 2, {"--backends", "two"});
  fails({"--backends", "cpu,gpu"}, 2, {"--backends", "gpu", "reference"});
  fails({"--backends", "cpu,cpu", "-p", "x", "--tokens", "1"}, 2, {"-p", "--tokens"});
  fails({"--backends", "cpu,cpu", "--chunk", "0"}, 2, {"--chunk"});
  fails({"--backends", "cpu,cpu", "--tokens", "1,x", "--html", html}, 1, {"--tokens", "'x'"});
  fails({"--backends", "cpu,cpu", "--tokens", "512", "--html", html}, 1, {"512", "0 to 511"});
  fails({"--backends", "cpu,cpu", "--html", (folder / "none/r.html").string()}, 1, {"none/r.html"});
  fails({"--backends", "cpu,cpu", "--html", model(kModel)}, 1, {"--html", "the model itself"});
  fails({"--backends", "cpu,cpu", "-f", "none.txt"}, 1, {"none.txt"});
  check_fails(kProgram, {model("l2a-qwen3-trained"), "--backends", "cpu,cpu"}, 1, {"--tokens"});
  check_fails(kProgram, {"none.gguf", "--backends", "cpu,cpu"}, 1, {"none.gguf"});
  CHECK(contains(test::run(kProgram, {"--help"}).out, "Examples:"));
}

}  // namespace
}  // namespace l2a
