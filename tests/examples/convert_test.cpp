// l2a-convert as its users see it: output, exit codes, signals.
#include <doctest/doctest.h>
#include <signal.h>

#include <chrono>
#include <limits>
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
  fails({"x"}, 2, {"--output", "--to-hf"});
  fails({"x", "-o", target, "--to-hf", "y"}, 2, {"--output", "--to-hf"});
  fails({"x", "--to-hf", "y", "--type", "q8_0"}, 2, {"--type", "q8_0", "bf16"});
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

TEST_CASE("l2a-convert --to-hf writes a folder that converts again") {
  const TemporaryFolder folder;
  const std::string file = (folder / "a.gguf").string(), out = (folder / "out").string();
  REQUIRE(run({checkpoint("l2a-qwen3-tiny").string(), "-o", file, "--type", "bf16"}).code == 0);
  const Ended back = run({file, "--to-hf", out});
  CHECK(back.code == 0);
  CHECK(back.out.empty());
  CHECK(contains(back.err, "out: l2a-qwen3, 60 tensors, "));
  CHECK(contains(test::read_file(folder / "out/config.json"), "\"l2a_qwen3\""));
  CHECK(run({out, "-o", file, "-q"}).code == 0);
  check_fails(kProgram, {file, "--to-hf", out}, 1, {out, "not an empty folder"}, {}, folder.path());
  check_fails(kProgram, {out, "--to-hf", out}, 1, {out, "not an empty folder"}, {}, folder.path());
  const Ended dense = run({checkpoint("qwen3-tiny").string(), "--to-hf", (folder / "l2a").string(),
                           "--l2a", "--window", "64", "--type", "f32"});
  CHECK(dense.code == 0);
  CHECK(contains(test::read_file(folder / "l2a/config.json"), "L2AQwen3ForCausalLM"));
}

// The checkpoint after `damage`, converted to a file and to a folder: one line that holds all of `says`.
template <class Damage>
void check_refuses(std::string_view name, std::initializer_list<std::string_view> says,
                   Damage damage) {
  const test::CheckpointFolder model(name);
  damage(model);
  const TemporaryFolder folder;
  const std::string source = model.path().string(), file = (folder / "a.gguf").string();
  check_fails(kProgram, {source, "-o", file}, 1, says, {}, folder.path());
  check_fails(kProgram, {source, "--to-hf", (folder / "hf").string()}, 1, says, {}, folder.path());
}

TEST_CASE("l2a-convert refuses bad input in one line and writes nothing") {
  using nlohmann::json;
  using test::CheckpointFolder;
  const auto config = [](const char* field, const json& value) {
    return [=](const CheckpointFolder& model) {
      model.edit_json("config.json", [&](json& root) { root[field] = value; });
    };
  };
  check_refuses("qwen3-tiny", {"model-00002-of-00002.safetensors", "is missing"},
                [](const CheckpointFolder& model) {
                  std::filesystem::remove(model.path() / "model-00002-of-00002.safetensors");
                });
  check_refuses("llama-tiny", {"'model.layers.3.input_layernorm.weight' is missing"},
                config("num_hidden_layers", 4));
  check_refuses("llama-tiny", {"has shape [160, 64]", "asks for [161, 64]"},
                config("intermediate_size", 161));
  check_refuses("llama-tiny", {"'architectures'", "'GPT2LMHeadModel' is not supported"},
                config("architectures", {"GPT2LMHeadModel"}));
  check_refuses(
      "qwen3-tiny", {"'use_sliding_window'", "layers 0 to 2 would see 16 tokens"},
      [](const CheckpointFolder& model) {
        model.edit_json("config.json", [](json& root) {
          root.update(
              {{"use_sliding_window", true}, {"sliding_window", 16}, {"max_window_layers", 0}});
        });
      });
  check_refuses("qwen2-tiny", {"tokenizer.json", "vocab_size allows 0 to 511"},
                [](const CheckpointFolder& model) {
                  model.edit_json("tokenizer.json",
                                  [](json& root) { root["model"]["vocab"]["zz"] = 512; });
                });
  for (const float value :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    check_refuses("llama-tiny", {"tensor 'model.norm.weight' holds ", "finite values"},
                  [value](const CheckpointFolder& model) {
                    model.set_first_value("model.norm.weight", value);
                  });
  }

  const CheckpointFolder model("llama-tiny");
  const std::string source = model.path().string();
  for (const char* input : {"model.safetensors", "config.json", "tokenizer.json"}) {
    check_fails(kProgram, {source, "-o", (model.path() / input).string()}, 1,
                {input, "is an input"}, {}, model.path());
  }
  const std::string file = test::model("llama-tiny");
  check_fails(kProgram, {file, "-o", file}, 1, {"is an input"});
  // Where not even root may write.
  check_fails(kProgram, {source, "-o", "/proc/a.gguf"}, 1, {"/proc/a.gguf", "cannot be created"});
  check_fails(kProgram, {source, "--to-hf", "/proc/a"}, 1, {"/proc/a", "cannot be created"});
}

TEST_CASE("a limit on the size of files ends l2a-convert with one line and leaves nothing") {
  const TemporaryFolder folder;
  Setup setup;
  setup.largest_file = 100'000;
  const std::string source = checkpoint("qwen3-tiny").string();
  check_fails(kProgram, {source, "-o", (folder / "a.gguf").string()}, 1,
              {"a.gguf", "cannot be written"}, setup, folder.path());
  check_fails(kProgram, {source, "--to-hf", (folder / "hf").string()}, 1,
              {"hf/model.safetensors", "cannot be written"}, setup, folder.path());
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
    for (const char* option : {"-o", "--to-hf"}) {
      const TemporaryFolder folder;
      Program program(kProgram, {source.path().string(), option, (folder / "a").string()});
      wait_for_file_in(folder, program);
      program.send(sent);
      CHECK(program.wait().code == 128 + sent);
      CHECK(folder.entries() == 0);
    }
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
