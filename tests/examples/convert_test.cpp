// l2a-convert as its users see it: output, exit codes, signals.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>
#include <vector>

#include "convert/hf_config.h"
#include "convert/tensor_plan.h"
#include "models/gguf.h"
#include "tests/convert/checkpoint_folder.h"
#include "tests/temporary_folder.h"

namespace l2a {
namespace {

using test::checkpoint;
using test::contains;
using test::TemporaryFolder;

// Starts l2a-convert with stdout and stderr in files of `logs`.
pid_t start(const TemporaryFolder& logs, std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), std::string(L2A_PROGRAMS) + "/l2a-convert");
  std::vector<char*> argv;
  for (std::string& argument : arguments) {
    argv.push_back(argument.data());
  }
  argv.push_back(nullptr);
  const std::string out = (logs / "out").string();
  const std::string err = (logs / "err").string();
  const pid_t child = fork();
  if (child == 0) {
    dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
    dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(126);
  }
  return child;
}

struct Ended {
  int code;
  std::string out, err;
};

Ended wait_for(const TemporaryFolder& logs, pid_t child) {
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
          test::read_file(logs / "out"), test::read_file(logs / "err")};
}

Ended run(std::vector<std::string> arguments) {
  const TemporaryFolder logs;
  return wait_for(logs, start(logs, std::move(arguments)));
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
  const auto one_line = [](const std::string& text) {
    return text.starts_with("l2a-convert: ") && text.find('\n') == text.size() - 1;
  };
  for (const std::vector<std::string>& wrong : {std::vector<std::string>{},
                                                {"x"},
                                                {"x", "-o", target, "--type", "q3"},
                                                {"x", "-o", target, "--what"}}) {
    const Ended ended = run(wrong);
    CHECK(ended.code == 2);
    CHECK(one_line(ended.err));
  }
  for (const std::vector<std::string>& failing :
       {std::vector<std::string>{"/none", "-o", target},
        {folder.path().string(), "-o", target},
        {checkpoint("qwen3-tiny").string(), "-o", (folder / "none/a.gguf").string()},
        {checkpoint("qwen3-tiny").string(), "-o", "/dev/full"}}) {
    const Ended ended = run(failing);
    CHECK(ended.code == 1);
    CHECK(one_line(ended.err));
  }
  CHECK(folder.entries() == 0);
}

TEST_CASE("l2a-convert --help teaches by example") {
  const Ended help = run({"--help"});
  CHECK(help.code == 0);
  CHECK(contains(help.out, "l2a-convert Qwen3-0.6B -o"));
  CHECK(contains(help.out, "q8_0"));
  CHECK(help.err.empty());
  CHECK(contains(run({"--version"}).out, "l2a-convert "));
}

// A checkpoint whose embedding is 512 MiB of zeros, a hole in the file: long enough to convert for
// a signal to meet it.
void write_large_checkpoint(const TemporaryFolder& model) {
  model.write("config.json",
              R"({"architectures": ["LlamaForCausalLM"], "vocab_size": 4194304, "hidden_size": 32,
      "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64,
      "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": true})");
  nlohmann::json header;
  std::uint64_t offset = 0;
  for (const PlannedTensor& planned : plan_tensors(HfConfig::read(model.path()))) {
    std::uint64_t bytes = sizeof(float);
    for (const std::int64_t extent : planned.shape) {
      bytes *= static_cast<std::uint64_t>(extent);
    }
    header[planned.source] = {
        {"dtype", "F32"}, {"shape", planned.shape}, {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  const auto path =
      model.write("model.safetensors",
                  std::string(reinterpret_cast<const char*>(&length), sizeof length) + text);
  std::filesystem::resize_file(path, sizeof length + length + offset);
}

TEST_CASE("an interrupted l2a-convert exits with 128 + the signal and leaves nothing") {
  const TemporaryFolder model;
  write_large_checkpoint(model);
  for (const int sent : {SIGINT, SIGTERM}) {
    const TemporaryFolder folder;
    const TemporaryFolder logs;
    const pid_t child = start(logs, {model.path().string(), "-o", (folder / "a.gguf").string()});
    while (folder.entries() == 0 && waitpid(child, nullptr, WNOHANG) == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    kill(child, sent);
    CHECK(wait_for(logs, child).code == 128 + sent);
    CHECK(folder.entries() == 0);
  }
}

}  // namespace
}  // namespace l2a
