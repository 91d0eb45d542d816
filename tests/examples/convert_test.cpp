// l2a-convert as its users see it: output, exit codes, signals.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "graph/error.h"
#include "models/gguf.h"
#include "tests/convert/checkpoint_folder.h"
#include "tests/convert/zero_checkpoint.h"
#include "tests/examples/program.h"
#include "tests/temporary_folder.h"

namespace l2a {
namespace {

using test::check_fails;
using test::checkpoint;
using test::contains;
using test::Ended;
using test::Program;
using test::Setup;
using test::TemporaryFolder;

constexpr const char* kProgram = "l2a-convert";

Ended run(const std::vector<std::string>& arguments, const Setup& setup = {}) {
  return test::run(kProgram, arguments, setup);
}

TEST_CASE("l2a-convert writes the file, sums up on stderr, and is silent with --quiet") {
  const TemporaryFolder folder;
  const std::string target = (folder / "a.gguf").string();
  const Ended loud = run({checkpoint("qwen3-tiny").string(), "-o", target});
  CHECK(loud.code == 0);
  CHECK(loud.out.empty());
  CHECK(contains(loud.err, "a.gguf: qwen3, 36 tensors, "));
  CHECK(GgufFile::open(target)->find_tensor("token_embd.weight")->dtype == Dtype::f16);
  const Ended quiet =
      run({checkpoint("qwen3-tiny").string(), "-o", target, "--type", "q8_0", "--quiet"});
  CHECK(quiet.code == 0);
  CHECK(quiet.err.empty());
  CHECK(GgufFile::open(target)->find_tensor("token_embd.weight")->dtype == Dtype::q8_0);
}

TEST_CASE("l2a-convert exits with 2 for wrong usage and 1 for failure, with one line") {
  const TemporaryFolder folder;
  const std::string target = (folder / "a.gguf").string();
  const std::string source = checkpoint("qwen3-tiny").string();
  const auto fails = [&](std::vector<std::string> arguments, int code,
                         std::initializer_list<std::string_view> says) {
    check_fails(kProgram, arguments, code, says, {}, folder.path());
  };
  fails({}, 2, {"SOURCE"});
  fails({"x"}, 2, {"--output"});
  fails({"", "-o", target}, 2, {"SOURCE", "empty"});
  fails({source, "-o", ""}, 2, {"--output", "empty"});
  fails({source, "-o"}, 2, {"--output", "one value"});
  fails({source, "-o", target, "--type", "q3"}, 2, {"--type", "q3", "q8_0"});
  fails({source, "-o", target, "--what"}, 2, {"--what"});
  fails({"/none", "-o", target}, 1, {"/none"});
  fails({folder.path().string(), "-o", target}, 1, {"config.json"});
  fails({source, "-o", (folder / "none/a.gguf").string()}, 1, {"none/a.gguf"});
  fails({source, "-o", "/dev/full"}, 1, {"/dev/full"});
}

TEST_CASE("a limit on the size of files ends l2a-convert with one line and leaves nothing") {
  const TemporaryFolder folder;
  Setup setup;
  setup.largest_file = 100'000;
  check_fails(kProgram, {checkpoint("qwen3-tiny").string(), "-o", (folder / "a.gguf").string()}, 1,
              {"a.gguf", "cannot be written"}, setup, folder.path());
}

TEST_CASE("l2a-convert --help teaches by example") {
  const Ended help = run({"--help"});
  CHECK(help.code == 0);
  CHECK(contains(help.out, "l2a-convert Qwen3-0.6B -o"));
  CHECK(contains(help.out, "q8_0"));
  CHECK(help.err.empty());
  CHECK(contains(run({"--version"}).out, "l2a-convert "));
}

// An embedding of 512 MiB: long enough to convert for a signal to meet it.
void write_large_checkpoint(const TemporaryFolder& model) {
  test::write_zero_checkpoint(
      model,
      R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 4194304, "hidden_size": 32,
      "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
      "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": true})");
}

TEST_CASE("l2a-convert needs memory for two of the largest tensors and 200 MB, not for the model") {
  // The sanitizer keeps freed memory, and a shadow of all of it.
  if (test::kAddressSanitizer) return;
  const TemporaryFolder source, folder;
  constexpr std::int64_t kHidden = 1024, kFeedForward = 8192, kLayers = 12;
  test::write_zero_checkpoint(
      source,
      concat(R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 512, "hidden_size": )",
             kHidden, R"(, "intermediate_size": )", kFeedForward, R"(, "num_hidden_layers": )",
             kLayers,
             R"(, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32,
      "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": true})"));
  const std::size_t largest = kHidden * kFeedForward * sizeof(float);
  const std::size_t bound = 2 * largest + 200'000'000;
  const std::size_t model = 3 * kLayers * largest;
  REQUIRE(model / 2 > 2 * bound);  // in f16
  const std::string half = (folder / "a.gguf").string();
  const Ended from_folder = run({source.path().string(), "-o", half});
  CHECK(from_folder.code == 0);
  CHECK(from_folder.peak_memory < bound);
  const Ended from_file = run({half, "-o", (folder / "b.gguf").string(), "--type", "q8_0"});
  CHECK(from_file.code == 0);
  CHECK(from_file.peak_memory < bound);
}
void wait_for_file_in(const TemporaryFolder& folder, Program& program) {
  while (folder.entries() == 0 && program.is_running()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST_CASE("an interrupted l2a-convert exits with 128 + the signal and leaves nothing") {
  const TemporaryFolder source;
  write_large_checkpoint(source);
  for (const int sent : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    const TemporaryFolder folder;
    Program program(kProgram, {source.path().string(), "-o", (folder / "a.gguf").string()});
    wait_for_file_in(folder, program);
    program.send(sent);
    CHECK(program.wait().code == 128 + sent);
    CHECK(folder.entries() == 0);
  }
}

TEST_CASE("l2a-convert under nohup survives the end of its session") {
  const TemporaryFolder source;
  write_large_checkpoint(source);
  const TemporaryFolder folder;
  Setup setup;
  setup.ignored_signal = SIGHUP;
  Program program(kProgram, {source.path().string(), "-o", (folder / "a.gguf").string()}, setup);
  wait_for_file_in(folder, program);
  program.send(SIGHUP);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(program.is_running());
}

TEST_CASE("with stderr closed, progress does not get into the file that is written") {
  const TemporaryFolder source;
  write_large_checkpoint(source);
  const TemporaryFolder folder;
  Setup setup;
  setup.error_closed = true;
  Program program(kProgram, {source.path().string(), "-o", (folder / "a.gguf").string()}, setup);
  wait_for_file_in(folder, program);
  const auto stream = std::filesystem::path("/proc") / std::to_string(program.id()) / "fd/2";
  CHECK(std::filesystem::read_symlink(stream) == "/dev/null");
}

}  // namespace
}  // namespace l2a
