// l2a-perplexity as its users see it: figures against sums by hand, files, errors. What its files are for, in
// l2a-convert, is in perplexity_files_test.cpp.
#include "tests/examples/perplexity.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <thread>

#include "convert/safetensors.h"
#include "convert/saved_logits.h"
#include "tests/models/edited_gguf.h"

namespace l2a {
namespace {

using test::check_fails;
using test::contains;
using test::Ended;
using test::ids;
using test::json_of;
using test::model;
using test::Program;
using test::Setup;
using test::some_tokens;
using test::TemporaryFolder;

constexpr const char* kProgram = "l2a-perplexity";

// Log probabilities [T, V] of the tokens alone in a context, by l2a-logits.
std::vector<std::vector<double>> log_probs(const std::string& model_path,
                                           std::span<const Token> tokens) {
  const TemporaryFolder folder;
  const std::string target = (folder / "l.safetensors").string();
  // Instructions that compute a token alike whatever the number beside it.
  REQUIRE(test::run("l2a-logits",
                    {model_path, "--tokens", ids(tokens), "--out", target, "--cpu", "generic"})
              .code == 0);
  const Safetensors file = Safetensors::open_file(target);
  const SafetensorsTensor& logits = *file.find("logits");
  const auto width = static_cast<std::size_t>(logits.shape[1]);
  std::vector<std::vector<double>> rows(tokens.size());
  for (std::size_t t = 0; t < rows.size(); ++t) {
    std::vector<float> row(width);
    read_floats(logits, static_cast<std::int64_t>(t * width), row);
    double sum = 0;
    for (const float logit : row) sum += std::exp(static_cast<double>(logit));
    for (const float logit : row) rows[t].push_back(static_cast<double>(logit) - std::log(sum));
  }
  return rows;
}

struct ByHand {
  std::vector<double> losses;
  double mean() const {
    return std::accumulate(losses.begin(), losses.end(), 0.0) / static_cast<double>(losses.size());
  }
  // Of the mean, as two passes over all values say it.
  double error() const {
    const auto count = static_cast<double>(losses.size());
    double squares = 0;
    for (const double loss : losses) squares += (loss - mean()) * (loss - mean());
    return std::sqrt(squares / count / (count - 1));
  }
};

ByHand losses_by_hand(const std::string& model_path, std::span<const Token> tokens,
                      std::size_t context) {
  ByHand result;
  for (std::size_t begin = 0; begin + context <= tokens.size(); begin += context) {
    const auto chunk = tokens.subspan(begin, context);
    const auto rows = log_probs(model_path, chunk);
    for (std::size_t t = context / 2; t + 1 < context; ++t)
      result.losses.push_back(-rows[t][static_cast<std::size_t>(chunk[t + 1])]);
  }
  return result;
}

TEST_CASE("perplexity is that of l2a-logits' logits over the second halves of chunks") {
  const std::vector<Token> tokens = some_tokens(100);
  for (const char* checkpoint : {"qwen3-tiny", "l2a-qwen3-pruned", "l2a-llama-widen"}) {
    for (const std::size_t context : {3, 17, 32, 100}) {
      CAPTURE(checkpoint);
      CAPTURE(context);
      const ByHand expected = losses_by_hand(model(checkpoint), tokens, context);
      const auto json = json_of(kProgram, {model(checkpoint), "--tokens", ids(tokens), "--context",
                                           std::to_string(context), "--type-kv", "f32"});
      CHECK(json["chunks"] == 100 / context);
      CHECK(json["scored_tokens"] == expected.losses.size());
      CHECK(json["loss"].get<double>() == doctest::Approx(expected.mean()).epsilon(1e-5));
      CHECK(json["perplexity"].get<double>() ==
            doctest::Approx(std::exp(expected.mean())).epsilon(1e-4));
      if (expected.losses.size() > 1) {
        CHECK(json["loss_error"].get<double>() == doctest::Approx(expected.error()).epsilon(1e-4));
        CHECK(json["perplexity_error"].get<double>() ==
              doctest::Approx(std::exp(expected.mean()) * expected.error()).epsilon(1e-4));
      }
    }
  }
}

// Steps of logits are 128 positions: a chunk of 700 takes several, of which the last is a part.
TEST_CASE("long chunks go through the model in steps that change nothing") {
  const std::vector<Token> tokens = some_tokens(700);
  const ByHand expected = losses_by_hand(model("l2a-qwen3-tiny"), tokens, 700);
  const auto json = json_of(kProgram, {model("l2a-qwen3-tiny"), "--tokens", ids(tokens),
                                       "--context", "700", "--type-kv", "f32"});
  CHECK(json["scored_tokens"] == 349);
  CHECK(json["loss"].get<double>() == doctest::Approx(expected.mean()).epsilon(1e-5));
}

TEST_CASE("where the tokenizer adds a BOS, each chunk begins with it") {
  const TemporaryFolder folder;
  const std::string path = (folder / "bos.gguf").string();
  test::EditedGguf(*GgufFile::open(model("qwen3-tiny")))
      .set("tokenizer.ggml.add_bos_token", true)
      .set("tokenizer.ggml.bos_token_id", 5)
      .write(path);
  std::string text;
  for (int i = 0; i < 40; ++i) text += "word " + std::to_string(i * i) + ", ";
  const std::string file = folder.write("text", text).string();
  Setup setup;
  setup.text = text;
  const Ended encoded = test::run("l2a-tokenize", {path, "--ids"}, setup);
  REQUIRE(encoded.code == 0);
  std::vector<Token> tokens{5};
  for (const char* at = encoded.out.c_str();;) {
    char* end = nullptr;
    const long id = std::strtol(at, &end, 10);
    if (end == at) break;
    tokens.push_back(static_cast<Token>(id));
    at = end;
  }
  REQUIRE(tokens.size() > 64);
  for (std::size_t i = 0; i < tokens.size(); i += 32) tokens[i] = 5;
  const auto by_text = json_of(kProgram, {path, "-f", file, "--context", "32"});
  const auto by_tokens = json_of(kProgram, {path, "--tokens", ids(tokens), "--context", "32"});
  CHECK(by_text["chunks"].get<int>() > 1);
  CHECK(by_text["loss"] == by_tokens["loss"]);
  const auto by_input = test::run(kProgram, {path, "-f", "-", "--context", "32", "-q"}, setup);
  CHECK(by_input.code == 0);
  CHECK(by_input.err == "");
  CHECK(by_input.out.starts_with("perplexity "));
  CHECK(contains(by_input.out, " ± "));
}

TEST_CASE("--chunks stops early, and the context is by default at most the model's") {
  const std::string tokens = ids(some_tokens(600));
  const auto few = json_of(
      kProgram, {model("qwen3-tiny"), "--tokens", tokens, "--context", "20", "--chunks", "3"});
  CHECK(few["chunks"] == 3);
  CHECK(few["scored_tokens"] == 27);
  const auto standard = json_of(kProgram, {model("qwen3-tiny"), "--tokens", tokens});
  CHECK(standard["context"] == 512);
  const TemporaryFolder folder;
  test::EditedGguf edited(*GgufFile::open(model("qwen3-tiny")));
  edited.set("qwen3.context_length", 64).write(folder / "short.gguf");
  const std::string path = (folder / "short.gguf").string();
  CHECK(json_of(kProgram, {path, "--tokens", tokens})["context"] == 64);
  const Ended beyond = test::run(kProgram, {path, "--tokens", tokens, "--context", "100"});
  CHECK(beyond.code == 0);
  CHECK(contains(beyond.err, "warning: --context 100 is beyond the 64 tokens"));
}

std::string save(const TemporaryFolder& folder, const std::string& model_path,
                 std::span<const Token> tokens, const char* context = "32") {
  const std::string target = (folder / "saved.safetensors").string();
  CHECK(test::run(kProgram, {model_path, "--tokens", ids(tokens), "--context", context, "--type-kv",
                             "f32", "--save-logits", target})
            .code == 0);
  return target;
}

TEST_CASE("a model does not diverge from itself") {
  const TemporaryFolder folder;
  const std::vector<Token> tokens = some_tokens(130);
  const std::string saved = save(folder, model("qwen3-tiny"), tokens);
  const auto json = json_of(kProgram, {model("qwen3-tiny"), "--tokens", ids(tokens), "--context",
                                       "32", "--type-kv", "f32", "--kl", saved});
  // Log probabilities near -6 are saved to 2^-9; divergences are of that squared.
  CHECK(std::fabs(json["kl"]["mean"].get<double>()) < 1e-5);
  CHECK(std::fabs(json["kl"]["largest"].get<double>()) < 1e-5);
  CHECK(json["same_top"] == 1.0);
  CHECK(json["ratio"] == 1.0);
  CHECK(json["ratio_error"] == 0.0);
  CHECK(json["saved_perplexity"].get<double>() ==
        doctest::Approx(json["perplexity"].get<double>()).epsilon(1e-9));
  const Ended text = test::run(kProgram, {model("qwen3-tiny"), "--tokens", ids(tokens), "--context",
                                          "32", "--type-kv", "f32", "--kl", saved, "-q"});
  CHECK(contains(text.out, "ratio          1.00000 ± 0.00000"));
  CHECK(contains(text.out, "same top token 100.00 ± 0.00%"));
}

TEST_CASE("the divergence of a quantized model is that of l2a-logits' logits") {
  const TemporaryFolder folder;
  const std::vector<Token> tokens = some_tokens(96);
  const std::string exact = model("qwen3-tiny"), coarse = (folder / "q4_0.gguf").string();
  REQUIRE(test::run("l2a-convert", {exact, "-o", coarse, "--type", "q4_0"}).code == 0);
  const std::string saved = save(folder, exact, tokens, "32");
  const auto json = json_of(kProgram, {coarse, "--tokens", ids(tokens), "--context", "32",
                                       "--type-kv", "f32", "--kl", saved, "--cpu", "generic"});
  double total = 0, largest = 0, same = 0, count = 0;
  std::vector<double> divergences;
  for (std::size_t begin = 0; begin < tokens.size(); begin += 32) {
    const auto chunk = std::span(tokens).subspan(begin, 32);
    const auto p = log_probs(exact, chunk), q = log_probs(coarse, chunk);
    for (std::size_t t = 16; t < 31; ++t) {
      double kl = 0;
      for (std::size_t i = 0; i < p[t].size(); ++i) kl += std::exp(p[t][i]) * (p[t][i] - q[t][i]);
      divergences.push_back(kl);
      total += kl;
      largest = std::max(largest, kl);
      same += std::max_element(p[t].begin(), p[t].end()) - p[t].begin() ==
                      std::max_element(q[t].begin(), q[t].end()) - q[t].begin()
                  ? 1
                  : 0;
      ++count;
    }
  }
  std::sort(divergences.begin(), divergences.end());
  CHECK(total / count > 1e-3);  // else this compares noise
  CHECK(json["kl"]["mean"].get<double>() == doctest::Approx(total / count).epsilon(0.01));
  CHECK(json["kl"]["largest"].get<double>() == doctest::Approx(largest).epsilon(0.01));
  CHECK(json["kl"]["median"].get<double>() == doctest::Approx(divergences[22]).epsilon(0.01));
  CHECK(json["kl"]["p99"].get<double>() == doctest::Approx(divergences[44]).epsilon(0.01));
  CHECK(json["same_top"].get<double>() == doctest::Approx(same / count));
  const double change =
      losses_by_hand(coarse, tokens, 32).mean() - losses_by_hand(exact, tokens, 32).mean();
  CHECK(json["ratio"].get<double>() == doctest::Approx(std::exp(change)).epsilon(1e-4));
}

TEST_CASE("saved logits of another text, context or vocabulary are refused by what differs") {
  const TemporaryFolder folder;
  const std::vector<Token> tokens = some_tokens(96);
  const std::string saved = save(folder, model("qwen3-tiny"), tokens);
  const auto fails = [&](const char* checkpoint, std::span<const Token> with, const char* context,
                         std::initializer_list<std::string_view> says) {
    check_fails(kProgram,
                {model(checkpoint), "--tokens", ids(with), "--context", context, "--kl", saved}, 1,
                says, {}, folder.path());
  };
  std::vector<Token> other = tokens;
  other[70] += 1;
  fails("qwen3-tiny", other, "32", {"saved.safetensors", "another text or tokenizer", "token 70"});
  fails("qwen3-tiny", tokens, "31", {"saved.safetensors", "--context 32", "31"});
  fails("qwen3-tiny", std::span(tokens).first(64), "32", {"saved.safetensors", "chunks", "3", "2"});
  fails("l2a-qwen3-trained", tokens, "32", {"saved.safetensors", "vocabulary", "512", "256"});
  // The same text, longer, or less of it on request.
  std::vector<Token> longer = tokens;
  for (int i = 0; i < 40; ++i) longer.push_back(3);
  const auto more = json_of(
      kProgram, {model("qwen3-tiny"), "--tokens", ids(longer), "--context", "32", "--kl", saved});
  CHECK(more["chunks"] == 3);
  const auto less = json_of(kProgram, {model("qwen3-tiny"), "--tokens", ids(tokens), "--context",
                                       "32", "--chunks", "2", "--kl", saved});
  CHECK(less["chunks"] == 2);
}

TEST_CASE("damaged files of saved logits are refused in one line") {
  const TemporaryFolder folder;
  const std::vector<Token> tokens = some_tokens(64);
  const std::string good = test::read_file(save(folder, model("qwen3-tiny"), tokens));
  const auto fails = [&](std::string_view contents, std::initializer_list<std::string_view> says) {
    const std::string path = folder.write("bad.safetensors", contents).string();
    check_fails(kProgram,
                {model("qwen3-tiny"), "--tokens", ids(tokens), "--context", "32", "--kl", path}, 1,
                says, {}, folder.path());
  };
  for (const std::size_t size : {std::size_t{0}, std::size_t{7}, std::size_t{100}, good.size() - 1})
    fails(std::string_view(good).substr(0, size), {"bad.safetensors"});
  fails(std::string(5000, 'x'), {"bad.safetensors"});

  const Safetensors file = Safetensors::open_file((folder / "saved.safetensors").string());
  const auto rewritten = [&](const std::string& skipped, const std::string& replaced,
                             std::uint16_t half) {
    const auto path = folder / "new.safetensors";
    {
      SafetensorsWriter writer(path);
      for (const auto& [name, tensor] : file.tensors()) {
        if (name != skipped) writer.add_tensor(name, tensor.type, tensor.shape);
      }
      for (const auto& [name, tensor] : file.tensors()) {
        if (name == skipped) continue;
        std::vector<std::byte> bytes(tensor.data.begin(), tensor.data.end());
        if (name == replaced) std::memcpy(bytes.data() + 200, &half, sizeof half);
        writer.write(bytes);
      }
      writer.finish();
    }
    const std::string text = test::read_file(path);
    std::filesystem::remove(path);
    return text;
  };
  for (const char* name : {"tokens", "log_probs", "next", "most_likely"})
    fails(rewritten(name, "", 0), {"bad.safetensors", "not a file of saved logits", name});
  // NaN, infinities, and a probability of e^2.
  for (const std::uint16_t half : {0x7e00, 0x7c00, 0xfc00, 0x4000})
    fails(rewritten("", "log_probs", half), {"position 0", "logarithms of probabilities"});
}

TEST_CASE("l2a-perplexity exits with 2 for wrong usage and 1 for failure, with one line") {
  const TemporaryFolder folder;
  const std::string path = model("qwen3-tiny");
  const std::string tokens = ids(some_tokens(64));
  const auto fails = [&](std::vector<std::string> arguments, int code,
                         std::initializer_list<std::string_view> says, const Setup& setup = {}) {
    check_fails(kProgram, arguments, code, says, setup, folder.path());
  };
  fails({}, 2, {"MODEL"});
  fails({path}, 2, {"a text is needed"});
  fails({path, "-f", "x", "--tokens", "1"}, 2, {"--tokens", "--file"});
  fails({path, "--tokens", tokens, "--context", "2"}, 2, {"--context"});
  fails({path, "-f", "/none"}, 1, {"/none"});
  fails({path, "--tokens", tokens}, 1, {"64 tokens", "512", "--context"});
  fails({path, "--tokens", "1,2,512,3", "--context", "4"}, 1, {"token 2 is 512"});
  fails({path, "-f", folder.write("latin1", "caf\xe9").string()}, 1, {"latin1", "UTF-8"});
  const std::string file = folder.write("tokens", tokens).string();
  fails({path, "--tokens", file, "--context", "32", "--save-logits", file}, 1,
        {"--save-logits", "is an input"});
  fails({path, "--tokens", file, "--context", "32", "--imatrix", path}, 1,
        {"--imatrix", "is an input"});
  const std::string out = (folder / "out").string();
  fails({path, "--tokens", file, "--context", "32", "--imatrix", out, "--save-logits", out}, 1,
        {"--imatrix", "--save-logits too"});
  fails({path, "--tokens", file, "--context", "32", "--route-stats", out}, 1,
        {"--route-stats", "no layer with a router"});
  for (const char* option : {"--save-logits", "--imatrix"}) {
    fails({path, "--tokens", file, "--context", "32", option, (folder / "no/out").string()}, 1,
          {"no/out"});
    Setup small;
    small.largest_file = 1000;
    fails({path, "--tokens", file, "--context", "32", option, out}, 1, {"out"}, small);
  }
  const Ended help = test::run(kProgram, {"--help"});
  CHECK(help.code == 0);
  CHECK(contains(help.out, "--save-logits base.safetensors"));
}

TEST_CASE("an interrupted l2a-perplexity exits with 128 + the signal and leaves nothing") {
  const TemporaryFolder inputs;
  std::string tokens;
  for (int i = 0; i < 1'000'000; ++i) tokens += std::to_string(i % 250) + " ";
  const std::string file = inputs.write("tokens", tokens).string();
  for (const int sent : {SIGINT, SIGTERM}) {
    const TemporaryFolder folder;
    Program program(
        kProgram, {model("qwen3-tiny"), "--tokens", file, "--save-logits",
                   (folder / "l.safetensors").string(), "--imatrix", (folder / "i.gguf").string()});
    while (folder.entries() < 2 && program.is_running())
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    program.send(sent);
    CHECK(program.wait().code == 128 + sent);
    CHECK(folder.entries() == 0);
  }
}

TEST_CASE("on a terminal the running estimate is shown with the progress" *
          doctest::skip(!test::has_terminals())) {
  const TemporaryFolder folder;
  std::string tokens;
  for (int i = 0; i < 100'000; ++i) tokens += std::to_string(i * 7 % 250) + " ";
  Setup setup;
  setup.on_terminal = true;
  Program program(
      kProgram, {model("qwen3-tiny"), "--tokens", folder.write("tokens", tokens).string()}, setup);
  CHECK(program.shows("s left  perplexity "));  // with the progress, not the result
}

}  // namespace
}  // namespace l2a
