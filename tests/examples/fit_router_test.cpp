// l2a-fit-router as its users see it: from a dense file and text to a model that routes.
#include <doctest/doctest.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>
#include <thread>

#include "models/model_config.h"
#include "tests/examples/perplexity.h"
#include "tests/models/edited_gguf.h"

namespace l2a {
namespace {

using test::check_fails;
using test::contains;
using test::Ended;
using test::json_of;
using test::model;
using test::TemporaryFolder;

constexpr const char* kProgram = "l2a-fit-router";

std::string some_text(int seed, int words) {
  std::string text;
  for (int i = 0; i < words; ++i)
    text += std::to_string((i * i * 7 + i * seed) % 97) + (i % 9 == 8 ? ".\n" : " word ");
  return text;
}

struct Fixture {
  TemporaryFolder folder;
  std::string fit = folder.write("fit.txt", some_text(3, 300)).string();
  std::string held = folder.write("held.txt", some_text(5, 200)).string();
  std::string target = (folder / "l2a.gguf").string();

  std::vector<std::string> arguments(const std::string& dense,
                                     std::vector<std::string> more = {}) const {
    std::vector<std::string> all = {dense, "-f",        fit,        "--held-out", held,
                                    "-o",  target,      "--window", "16",         "--sinks",
                                    "2",   "--context", "96"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST_CASE("a fitted model skips what was asked for, and with everything routed is the dense one") {
  for (const char* checkpoint : {"qwen2-tiny", "qwen3-tiny", "llama-tiny"}) {
    CAPTURE(checkpoint);
    const Fixture files;
    const std::string dense = model(checkpoint);
    const Ended fitted = test::run(kProgram, files.arguments(dense, {"--skip", "0.7"}));
    REQUIRE(fitted.code == 0);
    CHECK(contains(fitted.out, "captured %"));
    CHECK(contains(fitted.out, "At skip 0.7"));
    CHECK(contains(fitted.err, "l2a.gguf: l2a-"));
    const ModelConfig config = ModelConfig::from_gguf(*GgufFile::open(files.target));
    REQUIRE(config.l2a);
    CHECK(config.l2a->window == 16);
    CHECK(config.l2a->sinks == 2);
    CHECK(config.l2a->skip_logits.size() == 101);
    CHECK(std::ssize(config.l2a->need_scales) == config.layers);

    const auto score = [&](const std::string& path, std::vector<std::string> more) {
      more.insert(more.begin(), {path, "-f", files.held, "--context", "96", "--from", "18"});
      return json_of("l2a-perplexity", more);
    };
    const auto original = score(dense, {});
    CHECK(score(files.target, {"--route", "forced:1"})["loss"] == original["loss"]);
    CHECK(score(files.target, {"--skip", "0"})["loss"] == original["loss"]);
    const auto narrow = score(files.target, {"--skip", "1"});
    CHECK(narrow["loss"] != original["loss"]);
    CHECK(narrow["routed"]["share"] == 0);
    CHECK(score(files.target, {"--route", "forced:0"})["loss"] == narrow["loss"]);
    // Not bit for bit: where sinks and window meet, the same keys are summed in two parts.
    CHECK(score(files.target, {"--route", "oracle:1"})["loss"].get<double>() ==
          doctest::Approx(original["loss"].get<double>()).epsilon(1e-6));
    const auto share = [&](const std::vector<std::string>& more) {
      return score(files.target, more)["routed"]["share"].get<double>();
    };
    // The text is the one whose tokens were counted.
    CHECK(share({}) == doctest::Approx(0.3).epsilon(0.1));
    CHECK(share({"--skip", "0.4"}) == doctest::Approx(0.6).epsilon(0.1));
    CHECK(share({"--threshold", "0.5"}) == share({}));
    CHECK(share({"--threshold", "0.9"}) < share({}));
    CHECK(share({"--route", "oracle:0.25"}) == doctest::Approx(0.25).epsilon(0.05));
  }
}

TEST_CASE("a fitted model verifies, prunes, quantizes and goes to Hugging Face's form and back") {
  const Fixture files;
  REQUIRE(test::run(kProgram, files.arguments(model("llama-tiny"), {"-q"})).code == 0);
  CHECK(test::run("l2a-inspect", {files.target, "--verify"}).code == 0);
  const auto config_of = [](const std::string& path) {
    return ModelConfig::from_gguf(*GgufFile::open(path));
  };
  const ModelConfig config = config_of(files.target);
  const std::string pruned = (files.folder / "pruned.gguf").string();
  REQUIRE(test::run("l2a-convert", {files.target, "-o", pruned, "--type", "q8_0", "--prune", "1"})
              .code == 0);
  CHECK_FALSE(config_of(pruned).routes(1));
  CHECK(config_of(pruned).l2a->skip_logits == config.l2a->skip_logits);
  const std::string exported = (files.folder / "hf").string();
  const std::string back = (files.folder / "back.gguf").string();
  REQUIRE(test::run("l2a-convert", {files.target, "--to-hf", exported}).code == 0);
  REQUIRE(test::run("l2a-convert", {exported, "-o", back, "--type", "f32"}).code == 0);
  CHECK(config_of(back).l2a->skip_logits == config.l2a->skip_logits);
  CHECK(config_of(pruned).l2a->need_scales == config.l2a->need_scales);
  CHECK(config_of(back).l2a->need_scales == config.l2a->need_scales);
  const auto first = GgufFile::open(files.target), second = GgufFile::open(back);
  for (const GgufTensor& tensor : first->tensors()) {
    CAPTURE(tensor.name);
    const GgufTensor* other = second->find_tensor(tensor.name);
    REQUIRE(other != nullptr);
    CHECK(std::ranges::equal(tensor.data, other->data));
  }
}

TEST_CASE("--prune-below takes routers from layers that hardly route") {
  const Fixture files;
  const Ended all = test::run(
      kProgram, files.arguments(model("qwen3-tiny"), {"--skip", "0.5", "--prune-below", "1"}));
  REQUIRE(all.code == 0);
  CHECK(contains(all.err, "pruned "));
  CHECK(contains(all.err, "less"));
  CHECK(contains(all.out, "pruned"));
}

TEST_CASE("nothing and everything can be skipped from the start") {
  for (const char* skip : {"0", "1"}) {
    CAPTURE(skip);
    const Fixture files;
    REQUIRE(test::run(kProgram, files.arguments(model("llama-tiny"), {"--skip", skip})).code == 0);
    const auto json = json_of("l2a-perplexity",
                              {files.target, "-f", files.held, "--context", "96", "--from", "18"});
    CHECK(json["routed"]["share"].get<double>() ==
          doctest::Approx(skip[0] == '0' ? 1 : 0).epsilon(0.02));
  }
}

TEST_CASE("a fit goes on from its state, and gives the same file") {
  const Fixture files;
  const std::string state = (files.folder / "state").string();
  const auto arguments = files.arguments(model("qwen3-tiny"), {"--state", state});
  REQUIRE(test::run(kProgram, arguments).code == 0);
  const std::string first = test::read_file(files.target);
  REQUIRE(test::run(kProgram, arguments).code == 0);
  CHECK(test::read_file(files.target) == first);
  const auto other = files.arguments(model("qwen3-tiny"), {"--state", state, "--window", "17"});
  std::vector<std::string> wider(other.begin(), other.end());
  std::erase(wider, "16");
  wider.erase(std::find(wider.begin(), wider.end(), "--window"));
  check_fails(kProgram, wider, 1, {"state", "another model or other settings"}, {},
              files.folder.path());
}

TEST_CASE("an interrupted fit leaves its state only, and goes on from it to the same file") {
  Fixture files;
  files.fit = files.folder.write("long.txt", some_text(3, 2500)).string();
  const std::string dense = model("qwen3-tiny");
  REQUIRE(test::run(kProgram, files.arguments(dense, {"-q"})).code == 0);
  const std::string whole = test::read_file(files.target);
  std::filesystem::remove(files.target);

  const std::filesystem::path state = files.folder / "state";
  const auto arguments = files.arguments(dense, {"-q", "--state", state.string()});
  test::Program program(kProgram, arguments);
  while (!std::filesystem::exists(state) && program.is_running())
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  program.send(SIGTERM);
  CHECK(program.wait().code == 128 + SIGTERM);
  CHECK_FALSE(std::filesystem::exists(files.target));
  CHECK(files.folder.entries() == 4);  // the texts and the state
  REQUIRE(test::run(kProgram, arguments).code == 0);
  CHECK(test::read_file(files.target) == whole);
}

TEST_CASE("what cannot be fitted is refused in one line, and nothing is written") {
  const Fixture files;
  const std::string dense = model("qwen3-tiny");
  const auto fails = [&](const std::vector<std::string>& arguments, int code,
                         std::initializer_list<std::string_view> says) {
    check_fails(kProgram, arguments, code, says, {}, files.folder.path());
  };
  fails(files.arguments(model("l2a-qwen3-widen")), 1, {"is an L2A model already"});
  fails({dense, "-f", files.fit, "-o", files.target, "--window", "96", "--context", "96"}, 1,
        {"a window of 96 and 4 sinks see all of a context of 96"});
  const std::string small = files.folder.write("small.txt", some_text(1, 5)).string();
  fails({dense, "-f", small, "-o", files.target, "--window", "30", "--context", "96"}, 1,
        {"the text is too short"});
  fails({dense, "-f", files.fit, "-o", files.fit, "--window", "16"}, 1, {"is an input"});
  fails({dense, "-f", files.fit, "-o", (files.folder / "no" / "x.gguf").string(), "--window", "16",
         "--context", "96"},
        1, {"x.gguf"});
  fails({dense, "-o", files.target}, 2, {"--file"});
  fails({dense, "-f", files.fit, "-o", files.target, "--skip", "2"}, 2, {"--skip"});

  test::Setup full;
  full.largest_file = 4096;
  check_fails(kProgram, files.arguments(dense, {"-q"}), 1, {"l2a.gguf"}, full);
  CHECK_FALSE(std::filesystem::exists(files.target));
  const std::string state = (files.folder / "state").string();
  check_fails(kProgram, files.arguments(dense, {"-q", "--state", state}), 1, {"state"}, full,
              files.folder.path());
}

TEST_CASE("a fitted model answers with another share skipped, which others cannot") {
  const Fixture files;
  REQUIRE(test::run(kProgram, files.arguments(model("qwen3-tiny"), {"-q"})).code == 0);
  const auto share = [&](const char* skip) {
    return json_of("l2a-run", {files.target, "-p", "a word", "--raw", "-n", "20", "--temp", "0",
                               "--skip", skip})["routed"]["share"]
        .get<double>();
  };
  CHECK(share("0") == 1);
  CHECK(share("1") == 0);
  check_fails("l2a-run", {model("l2a-qwen3-tiny"), "-p", "x", "--raw", "--skip", "0.5"}, 1,
              {"--skip: ", "were not fitted"});
  check_fails("l2a-perplexity",
              {model("qwen3-tiny"), "-f", files.held, "--context", "32", "--threshold", "0.5"}, 1,
              {"--threshold: ", "the model has no router"});
  check_fails(
      "l2a-perplexity",
      {model("l2a-qwen3-tiny"), "-f", files.held, "--context", "32", "--route", "oracle:0.5"}, 1,
      {"--route oracle: ", "widens in every layer"});
}

TEST_CASE("a model whose activations are not finite is not fitted") {
  const Fixture files;
  const std::string damaged = (files.folder / "damaged.gguf").string();
  std::string bytes;
  {
    test::EditedGguf edited(*GgufFile::open(model("qwen3-tiny")));
    edited.write(damaged);
    bytes = test::read_file(damaged);
    const auto file = GgufFile::open(damaged);
    const GgufTensor* tensor = file->find_tensor("blk.0.attn_output.weight");
    REQUIRE(tensor != nullptr);
    const std::string_view data(reinterpret_cast<const char*>(tensor->data.data()),
                                tensor->data.size());
    const std::size_t at = bytes.find(data);
    REQUIRE(at != std::string::npos);
    const float nan = std::numeric_limits<float>::quiet_NaN();
    std::memcpy(bytes.data() + at, &nan, sizeof nan);
  }
  files.folder.write("damaged.gguf", bytes);
  check_fails(kProgram, files.arguments(damaged, {"-q"}), 1, {"layer 0", "not finite"}, {},
              files.folder.path());
}

}  // namespace
}  // namespace l2a
