// l2a-bench as its users see it.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "graph/simd_level.h"
#include "tests/examples/program.h"
#include "tests/temporary_folder.h"

namespace l2a {
namespace {

using nlohmann::json;
using test::check_fails;
using test::contains;
using test::Ended;
using test::model;

constexpr const char* kProgram = "l2a-bench";
using Arguments = std::vector<std::string>;

Ended bench(Arguments options) {
  options.insert(options.end(), {"-t", "2", "-r", "2"});
  Ended ended = test::run(kProgram, options);
  CHECK(ended.code == 0);
  CHECK(ended.err.empty());
  return ended;
}

json results(Arguments options) {
  options.insert(options.end(), {"-o", "json"});
  json list = json::parse(bench(std::move(options)).out, nullptr, false);
  REQUIRE(list.is_array());
  return list;
}

std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

TEST_CASE("--cpu takes the levels of this machine, and says which it lacks or does not know") {
  const auto levels = simd_levels();
  const auto lacks = [&](SimdLevel level) {
    return std::find(levels.begin(), levels.end(), level) == levels.end();
  };
  for (int i = 0; i < kSimdLevelCount; ++i) {
    const auto level = static_cast<SimdLevel>(i);
    const std::string name(simd_level_name(level));
    CAPTURE(name);
    const Arguments options = {model("l2a-qwen3-pruned"), "-p", "9", "-n", "0", "--cpu", name};
    if (lacks(level)) {
      check_fails(kProgram, options, 1, {"no " + name + " instructions"});
    } else {
      const char* products[kSimdLevelCount] = {"plain C++", "NEON", "AVX2", "AVX-512", "AMX"};
      CHECK(contains(bench(options).out, products[i]));
    }
  }
  check_fails(kProgram, {model("l2a-qwen3-pruned"), "--cpu", "sse9"}, 2, {"--cpu", "avx2"});
}

TEST_CASE(
    "--convert times conversions to each type with each number of threads, and leaves nothing") {
  const test::TemporaryFolder folder;
  test::Setup setup;
  setup.environment = {"TMPDIR=" + folder.path().string()};
  Arguments options = {model("qwen3-tiny"), "--convert", "q8_0,f16", "-t", "1,2", "-r", "2"};
  const Ended table = test::run(kProgram, options, setup);
  CHECK(table.code == 0);
  CHECK(table.err.empty());
  CHECK(lines(table.out) == 2 + 4);
  options.insert(options.end(), {"-o", "json"});
  const json list = json::parse(test::run(kProgram, options, setup).out, nullptr, false);
  REQUIRE(list.is_array());
  REQUIRE(list.size() == 4);
  for (const json& result : list) {
    CHECK(result["samples_s"].size() == 2);
    CHECK(result["median_s"] > 0);
    CHECK(result["weights"] == list[0]["weights"]);
    const bool half = result["type"] == "f16";
    // Sixteen bits a weight, or eight and a half; and the rest of a file.
    CHECK(result["file_bytes"] > result["weights"].get<double>() * (half ? 2 : 1));
    CHECK(result["file_bytes"] == list[half ? 1 : 0]["file_bytes"]);
  }
  CHECK(list[0]["file_bytes"] < list[1]["file_bytes"]);
  CHECK(std::filesystem::is_empty(folder.path()));
  check_fails(kProgram, {"--shape", "tiny", "--convert", "q8_0"}, 2, {"--convert", "MODEL"});
  check_fails(kProgram, {model("qwen3-tiny"), "--convert", "q9"}, 2, {"--convert", "q9"});
}

TEST_CASE("--prefill-precision is refused where the backend has no such choice") {
  check_fails(kProgram,
              {model("l2a-qwen3-pruned"), "--backend", "cpu", "--prefill-precision", "int8"}, 1,
              {"--prefill-precision", "CUDA", "cpu"});
  check_fails(kProgram, {model("l2a-qwen3-pruned"), "--prefill-precision", "int4"}, 2,
              {"--prefill-precision", "int8"});
}

TEST_CASE("l2a-bench combines all values of its options, and prints a row for each test") {
  const Arguments options = {model("l2a-qwen3-pruned"),
                             "-p",
                             "8,20",
                             "-n",
                             "3",
                             "-d",
                             "0",
                             "-d",
                             "40",
                             "--type-kv",
                             "f16,f32"};
  const std::string out = bench(options).out;
  CHECK(lines(out) == 2 + 2 * 2 * 3 + 2);
  for (const char* says : {"| model ", " of the limit |", "pp8 |", "pp20 |", "tg3 |", "pp8 @ d40 |",
                           "tg3 @ d40 |", "| f32 ", " ± ", "GB/s read", "Limits were measured"})
    CHECK(contains(out, says));

  Arguments csv = options;
  csv.insert(csv.end(), {"-o", "csv"});
  const std::string table = bench(csv).out;
  CHECK(lines(table) == 1 + 12);
  CHECK(contains(table, "model_filename,model_type,model_size,backend,n_threads,type_k,type_v,"));
  std::istringstream rows(table);
  std::string head, row;
  std::getline(rows, head);
  while (std::getline(rows, row)) {
    std::ptrdiff_t between = 0;
    for (auto at = row.find("\",\""); at != std::string::npos; at = row.find("\",\"", at + 1))
      ++between;
    CHECK(between == std::count(head.begin(), head.end(), ','));
  }

  std::vector<std::string> tests;
  for (const json& result : results(options)) {
    tests.push_back(result["type_k"].get<std::string>() + " " +
                    std::to_string(result["n_prompt"].get<int>()) + " " +
                    std::to_string(result["n_gen"].get<int>()) + " " +
                    std::to_string(result["n_depth"].get<int>()));
  }
  CHECK(tests == std::vector<std::string>{"f16 8 0 0", "f16 20 0 0", "f16 0 3 0", "f16 8 0 40",
                                          "f16 20 0 40", "f16 0 3 40", "f32 8 0 0", "f32 20 0 0",
                                          "f32 0 3 0", "f32 8 0 40", "f32 20 0 40", "f32 0 3 40"});
}

TEST_CASE("a result's figures fit together") {
  const json list = results({"--shape", "tiny", "-p", "32", "-n", "4", "-d", "100", "--ops"});
  REQUIRE(list.size() == 2);
  // Hidden 256, 4 layers, 4 query and 2 key heads of 64, feed-forward 768, 4096 tokens; head tied.
  constexpr double kMatrices = 4096 * 256 + 4 * (256 * 256 * 2 + 256 * 128 * 2 + 3 * 256 * 768);
  constexpr double kVectors = (4 * (2 * 256 + 2 * 64) + 256 + 32) * 4;
  constexpr double kCachePosition = 4 * 2 * 2 * 64 * 2;
  for (const json& result : list) {
    const double tokens = result["n_prompt"].get<double>() + result["n_gen"].get<double>();
    CHECK(result["model_filename"] == "random tiny q8_0");
    CHECK(result["model_type"] == "qwen3");
    CHECK(result["model_size"] == kMatrices * 34 / 32 + kVectors);
    CHECK(result["route"] == "");
    CHECK(result["n_threads"] == 2);
    CHECK(result["cache_bytes_global"] == (100 + tokens) * kCachePosition);
    REQUIRE(result["samples_ts"].size() == 2);
    const double first = result["samples_ts"][0], second = result["samples_ts"][1];
    CHECK(result["avg_ts"].get<double>() == doctest::Approx((first + second) / 2));
    CHECK(result["median_ts"].get<double>() == doctest::Approx((first + second) / 2));
    CHECK(result["samples_ns"][0].get<double>() == doctest::Approx(1e9 * tokens / first));
    CHECK(result["limit"] > 1e8);
    const bool prompt = result["n_prompt"] > 0;
    const double work = result[prompt ? "operations" : "bytes"];
    const double seconds =
        (result["samples_ns"][0].get<double>() + result["samples_ns"][1].get<double>()) / 2e9;
    CHECK(result["limit_share"].get<double>() ==
          doctest::Approx(work / seconds / result["limit"].get<double>()));
    CHECK(result["ops"]["argmax"]["calls"] == (prompt ? 1 : 4));
  }
  // Every weight but the unused rows of the embedding, which the head reads, and the caches, for each token.
  const double read = list[1]["bytes"].get<double>() / 4;
  const double least = kMatrices * 34 / 32 + 102 * kCachePosition;
  CHECK(read > least);
  CHECK(read < 1.1 * least);
  // All matrices but the head for each token, the head for one.
  const double head = 2.0 * 4096 * 256;
  const double products = 32 * (2 * kMatrices - head) + head;
  const double operations = list[0]["operations"];
  CHECK(operations > products);
  CHECK(operations < 1.2 * products);
}

TEST_CASE("sequences that generate together read the weights once and each its own cache") {
  const Arguments options = {"--shape", "tiny", "--l2a",   "-p",       "8",           "-n", "3",
                             "-d",      "500",  "--route", "forced:1", "--sequences", "1,4"};
  const json list = results(options);
  REQUIRE(list.size() == 3);
  CHECK(list[0]["n_prompt"] == 8);
  CHECK(list[0]["n_sequences"] == 1);
  const json &one = list[1], &four = list[2];
  CHECK(one["n_sequences"] == 1);
  CHECK(four["n_sequences"] == 4);
  CHECK(four["n_gen"] == 3);
  const double total = four["median_ts"], each = four["median_ts_each"];
  CHECK(total == doctest::Approx(4 * each));
  CHECK(four["samples_ns"][0].get<double>() ==
        doctest::Approx(1e9 * 4 * 3 / four["samples_ts"][0].get<double>()));
  for (const char* kind : {"cache_bytes_local", "cache_bytes_global"})
    CHECK(four[kind].get<double>() == 4 * one[kind].get<double>());
  // Both caches of each, and the weights once but for those of routed queries and outputs, which are each token's own.
  const double caches =
      one["cache_bytes_local"].get<double>() + one["cache_bytes_global"].get<double>();
  const double own = 4 * 2 * 256 * 256 * 34 / 32;
  const double more = (four["bytes"].get<double>() - one["bytes"].get<double>()) / 3 / 3;
  CHECK(more > 0.95 * (caches + own));
  CHECK(more < 1.2 * (caches + own));
  CHECK(four["routed_share"] == 1);
  const std::string table = bench(options).out;
  CHECK(contains(table, "tg3 x4 @ d500 |"));
  CHECK(contains(table, "each |"));
}

TEST_CASE("forced routes are measured without trained weights, and cost what they route") {
  const auto run = [](const std::string& route, const std::string& mode) {
    return results({"--shape", "tiny", "--l2a", "--l2a-mode", mode, "--window", "50", "-p", "0",
                    "-n", "40", "-d", "3000", "--route", route})[0];
  };
  for (const char* mode : {"add", "widen"}) {
    CAPTURE(mode);
    const json none = run("forced:0", mode), some = run("forced:0.25", mode),
               all = run("forced:1", mode);
    CHECK(none["routed_share"] == 0);
    CHECK(some["routed_share"] > 0.1);
    CHECK(some["routed_share"] < 0.4);
    CHECK(all["routed_share"] == 1);
    CHECK(some["route"] == "forced:0.25");
    CHECK(none["bytes"] < some["bytes"]);
    CHECK(some["bytes"] < all["bytes"]);
    CHECK(none["model_type"] == "l2a-qwen3");
  }
}

TEST_CASE("every type of weights can be made, and takes what it takes in a file") {
  double q4 = 0, q8 = 0, f16 = 0;
  for (const char* type :
       {"q4_k_m", "q5_k_m", "q6_k", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "f16", "bf16", "f32"}) {
    CAPTURE(type);
    const json result = results({"--shape", "tiny", "--type", type, "-p", "4", "-n", "0"})[0];
    CHECK(result["median_ts"] > 0);
    const double bytes = result["model_size"];
    if (type == std::string("q4_k_m")) q4 = bytes;
    if (type == std::string("q8_0")) q8 = bytes;
    if (type == std::string("f16")) f16 = bytes;
    const bool quantized = type[0] == 'q';
    CHECK((result["limit_name"] != "f32 Tflop/s") == quantized);
  }
  CHECK(q4 < 0.75 * q8);
  CHECK(q8 < 0.55 * f16);
}

TEST_CASE("the reference backend is measured too, against no limit") {
  const json result =
      results({"--shape", "tiny", "--backend", "reference", "-p", "0", "-n", "1"})[0];
  CHECK(result["backend"] == "reference");
  CHECK(result["limit_share"] == 0);
}

TEST_CASE("l2a-bench --help teaches by example, and wrong usage exits with 2") {
  const Ended help = test::run(kProgram, {"--help"});
  CHECK(help.code == 0);
  for (const char* says : {"Examples:", "--route forced:0.2", "q4_k_m", "tiny|0.6b|1.7b|8b"})
    CHECK(contains(help.out, says));
  const auto wrong = [](Arguments options, std::initializer_list<std::string_view> says) {
    check_fails(kProgram, options, 2, says);
  };
  wrong({}, {"MODEL", "--shape"});
  wrong({"m.gguf", "--shape", "tiny"}, {"MODEL", "--shape"});
  wrong({"--shape", "70b"}, {"--shape", "0.6b"});
  wrong({"--shape", "tiny", "--type", "q9"}, {"--type", "q8_0"});
  wrong({"--shape", "tiny", "-p", "0", "-n", "0"}, {"-p 0", "-n 0"});
  wrong({"--shape", "tiny", "-p", "1,x"}, {"--n-prompt", "x"});
  wrong({"--shape", "tiny", "-d", "-1"}, {"--n-depth"});
  wrong({"--shape", "tiny", "-r", "0"}, {"--repetitions"});
  wrong({"--shape", "tiny", "--sequences", "0"}, {"--sequences"});
  wrong({"--shape", "tiny", "--type-kv", "f16,q4_0"}, {"--type-kv"});
  wrong({"--shape", "tiny", "--l2a", "--sinks", "4"}, {"--sinks", "widen"});
  wrong({"m.gguf", "--l2a"}, {"--l2a", "--shape"});
  for (const char* route :
       {"forced", "forced:", "forced:x", "forced:1.5", "forced:-1", "forced:nan", "all"})
    wrong({"--shape", "tiny", "--route", route}, {"--route", route, "model"});
  check_fails(kProgram, {"none.gguf"}, 1, {"none.gguf"});
}

}  // namespace
}  // namespace l2a
