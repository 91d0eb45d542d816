// l2a-inspect as its users see it. The figures are worked by hand from the checkpoints' config.json.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "tests/examples/program.h"

namespace l2a {
namespace {

using test::check_fails;
using test::contains;
using test::Ended;
using test::model;
using test::run;
using test::TemporaryFolder;

constexpr const char* kProgram = "l2a-inspect";

TEST_CASE("l2a-inspect shows architecture, sizes by type, caches and the L2A settings") {
  const Ended ended = run(kProgram, {model("l2a-qwen3-pruned", Dtype::q8_0)});
  CHECK(ended.code == 0);
  CHECK(ended.err.empty());
  for (
      const char* line :
      {"architecture    l2a-qwen3\n", "layers          4 of width 96, MLP 192\n",
       "heads           4 for queries, 2 for keys, of size 32\n",
       "vocabulary      512, tied embeddings\n", "context         131072 tokens",
       // 512*96 + 4*(2*96*128 + 2*96*64 + 3*96*192) + 2*(2*96*128 + 2*96*64) = 491520 values of 34/32 bytes
       "q8_0           37     0.5 M    510.0 KiB\n",
       // 96 + 4*(2*96 + 2*32) + 2*(2*96 + 2*32) = 1632 values of 4 bytes
       "f32            25     0.0 M      6.4 KiB\n",
       // a position of a layer: 2 * 2 heads * 32 * 2 bytes = 256. Local: 4 rings of 12. Global: 2 layers.
       "     4K tokens    12.0 KiB      2.0 MiB      2.0 MiB\n",
       "    32K tokens    12.0 KiB     16.0 MiB     16.0 MiB\n",
       "   128K tokens    12.0 KiB     64.0 MiB     64.0 MiB\n", "L2A mode        add",
       "window          12 tokens\n",
       "router          temperature 0.1, threshold 0.97: ", "pruned layers   1, 3\n"}) {
    CAPTURE(line);
    CAPTURE(ended.out);
    CHECK(contains(ended.out, line));
  }
}

TEST_CASE(
    "l2a-inspect says nothing of L2A for a dense model, and counts sinks for a widening one") {
  const Ended dense = run(kProgram, {model("qwen3-tiny")});
  CHECK(dense.code == 0);
  CHECK(!contains(dense.out, "L2A"));
  // 3 layers of 256 bytes a position
  CHECK(contains(dense.out, "     4K tokens         0 B      3.0 MiB      3.0 MiB\n"));
  const Ended widen = run(kProgram, {model("l2a-qwen3-widen")});
  CHECK(contains(widen.out, "L2A mode        widen"));
  CHECK(contains(widen.out, "window          12 tokens and 3 sinks\n"));
  CHECK(contains(widen.out, "pruned layers   2\n"));
  // the pruned layer keeps 12 + 3 positions, the other three all
  CHECK(contains(widen.out, "     4K tokens     3.8 KiB      3.0 MiB      3.0 MiB\n"));
}

TEST_CASE("l2a-inspect --tensors lists name, type, shape and bytes between tabs") {
  const Ended ended = run(kProgram, {model("l2a-qwen3-pruned"), "--tensors"});
  CHECK(ended.code == 0);
  CHECK(contains(ended.out, "token_embd.weight\tf32\t[512, 96]\t196608\n"));
  CHECK(contains(ended.out, "blk.0.attn_router.weight\tf32\t[1, 96]\t384\n"));
  CHECK(!contains(ended.out, "blk.1.attn_router.weight"));
  CHECK(std::count(ended.out.begin(), ended.out.end(), '\n') == 62);
}

// The file with one string replaced by another of the same length.
std::string altered(const TemporaryFolder& folder, std::string_view from, std::string_view to) {
  std::string bytes = test::read_file(model("qwen3-tiny"));
  bytes.replace(bytes.find(from), from.size(), to);
  return folder.write("altered.gguf", bytes).string();
}

TEST_CASE("l2a-inspect names an architecture that is not known, and still lists its tensors") {
  const TemporaryFolder folder;
  // The first "qwen3" of the file is the value of general.architecture.
  const std::string path = altered(folder, "qwen3", "gemma");
  check_fails(kProgram, {path}, 1, {path, "general.architecture", "'gemma'", "qwen3", "llama"});
  CHECK(run(kProgram, {path, "--tensors"}).code == 0);
}

TEST_CASE("what a file says of itself cannot move the cursor") {
  const TemporaryFolder folder;
  const Ended ended =
      run(kProgram, {altered(folder, "output_norm.weight", "output_\x1b[2J.weight"), "--tensors"});
  CHECK(ended.code == 0);
  CHECK(contains(ended.out, "output_\\x1b[2J.weight"));
  CHECK(!contains(ended.out, "\x1b"));
}

TEST_CASE("l2a-inspect --verify finds a damaged tensor, and tells a file without checksums") {
  const std::string path = model("l2a-qwen3-tiny");
  const Ended whole = run(kProgram, {path, "--verify"});
  CHECK(whole.code == 0);
  CHECK(contains(whole.out, ": ok, 60 tensors\n"));
  CHECK(whole.err.empty());

  const TemporaryFolder folder;
  std::string bytes = test::read_file(path);
  bytes[bytes.size() - 40] ^= 4;  // in the last tensor
  const std::string damaged = folder.write("damaged.gguf", bytes).string();
  const Ended ended = run(kProgram, {damaged, "--verify"});
  CHECK(ended.code == 1);
  CHECK(ended.out == "output.weight\tdiffers from its checksum\n");
  CHECK(contains(ended.err, "damaged.gguf: damaged: 1 of 60 tensors differ\n"));
  CHECK(std::count(ended.err.begin(), ended.err.end(), '\n') == 1);

  check_fails(kProgram, {altered(folder, "l2a.tensor_xxh3", "l2a.tensor_none"), "--verify"}, 1,
              {"altered.gguf", "has no checksums"});
  check_fails(kProgram, {path, "--verify", "--tensors"}, 2, {"--verify", "--tensors"});

  // Programs that run a model refuse it before they use it, when they are asked to look.
  const auto target = (folder / "logits.safetensors").string();
  CHECK(run("l2a-logits", {path, "--verify", "--tokens", "1", "--out", target}).code == 0);
  CHECK(run("l2a-logits", {damaged, "--tokens", "1", "--out", target}).code == 0);
  std::filesystem::remove(target);
  check_fails("l2a-logits", {damaged, "--verify", "--tokens", "1", "--out", target}, 1,
              {"damaged.gguf", "'output.weight' does not match"}, {}, folder.path());
  check_fails("l2a-run", {damaged, "--verify", "-p", "x"}, 1, {"'output.weight' does not match"});
}

TEST_CASE("l2a-inspect fails in one line") {
  check_fails(kProgram, {}, 2, {"MODEL"});
  check_fails(kProgram, {""}, 2, {"MODEL", "empty"});
  check_fails(kProgram, {"a", "b"}, 2, {"b"});
  check_fails(kProgram, {model("qwen3-tiny"), "--what"}, 2, {"--what"});
  check_fails(kProgram, {"/none.gguf"}, 1, {"/none.gguf", "cannot be opened"});
  test::Setup full;
  full.output = test::Output::full;
  check_fails(kProgram, {model("qwen3-tiny")}, 1, {"standard output", "No space left"}, full);
  check_fails(kProgram, {"--help"}, 1, {"standard output", "No space left"}, full);
}

}  // namespace
}  // namespace l2a
