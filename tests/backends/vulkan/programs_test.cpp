// The programs on Vulkan, and where it is not to be had.
#include <doctest/doctest.h>

#include <cstring>
#include <vector>

#include "convert/safetensors.h"
#include "tests/examples/program.h"
#include "tests/models/test_model.h"

using namespace l2a::test;

namespace {

// An empty list of drivers: as on a machine whose loader has none.
Setup without_drivers() {
  Setup setup;
  setup.environment = {"VK_ICD_FILENAMES=/nonexistent", "VK_DRIVER_FILES=/nonexistent"};
  return setup;
}

}  // namespace

TEST_CASE("--list-devices names the devices of every backend, without a model") {
  const Ended listed = run("l2a-run", {"--list-devices"});
  CHECK(listed.code == 0);
  CHECK(contains(listed.out, "cpu "));
  CHECK(contains(listed.out, "vulkan 0 "));
  const Ended without = run("l2a-run", {"--list-devices"}, without_drivers());
  CHECK(without.code == 0);
  CHECK(contains(without.out, "cpu "));
  CHECK(!contains(without.out, "vulkan"));
}

TEST_CASE("l2a-logits writes the same on Vulkan as on the CPU") {
  const TemporaryFolder folder;
  std::vector<std::vector<float>> logits;
  for (const char* backend : {"cpu", "vulkan"}) {
    const Ended ended =
        run("l2a-logits", {model("l2a-qwen3-tiny"), "--backend", backend, "--tokens", "1,2,3,4,5",
                           "--decode", "2", "--out", (folder / backend).string()});
    REQUIRE_MESSAGE(ended.code == 0, ended.err);
    const l2a::Safetensors file = l2a::Safetensors::open_file(folder / backend);
    const auto bytes = file.find("logits")->data;
    logits.emplace_back(bytes.size() / sizeof(float));
    std::memcpy(logits.back().data(), bytes.data(), bytes.size());
  }
  CHECK(relative_error(logits[1], logits[0]) < 1e-4);
}

TEST_CASE("without a driver Vulkan is an error that says so, and auto runs on the CPU") {
  const TemporaryFolder folder;
  const std::string out = (folder / "out").string();
  check_fails("l2a-logits",
              {model("qwen3-tiny"), "--backend", "vulkan", "--tokens", "1,2", "--out", out}, 1,
              {"vulkan: there is no driver of a Vulkan device here"}, without_drivers());
  const Ended ended =
      run("l2a-logits", {model("qwen3-tiny"), "--device", "0", "--tokens", "1,2", "--out", out},
          without_drivers());
  CHECK(ended.code == 0);
  CHECK(contains(ended.err, "running on the CPU instead"));
}
