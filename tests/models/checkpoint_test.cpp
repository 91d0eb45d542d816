// The decoders end to end, against outputs of the paper's released code (l2a-qwen3-tiny, l2a-qwen3-sparse-bf16), of
// HF transformers (dense) and of the numpy statement of the model (the rest).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "backends/cpu/cpu_backend.h"
#include "convert/safetensors.h"
#include "graph/error.h"
#include "ops/reference_backend.h"
#include "tests/models/test_model.h"

using namespace l2a;
namespace fs = std::filesystem;

namespace {

struct Expected {
  std::vector<Token> tokens;
  std::vector<float> logits;              // [T, V]
  std::vector<std::vector<bool>> routes;  // [L', T]
};

Expected load_expected(const fs::path& folder) {
  const Safetensors file = Safetensors::open_file(folder / "expected.safetensors");
  Expected expected;
  const SafetensorsTensor& ids = *file.find("input_ids");
  expected.tokens.resize(ids.data.size() / sizeof(Token));
  std::memcpy(expected.tokens.data(), ids.data.data(), ids.data.size());
  const SafetensorsTensor& logits = *file.find("logits");
  expected.logits.resize(logits.data.size() / sizeof(float));
  std::memcpy(expected.logits.data(), logits.data.data(), logits.data.size());
  if (const SafetensorsTensor* route = file.find("route")) {
    const auto tokens = static_cast<std::size_t>(route->shape[1]);
    for (std::size_t layer = 0; layer < static_cast<std::size_t>(route->shape[0]); ++layer) {
      std::vector<bool> row;
      for (std::size_t t = 0; t < tokens; ++t)
        row.push_back(route->data[layer * tokens + t] != std::byte{0});
      expected.routes.push_back(std::move(row));
    }
  }
  return expected;
}

struct Run {
  std::vector<float> logits;
  std::vector<std::vector<bool>> routes;
};

// All tokens: the first in chunks, the last `decoded` one by one.
Run run_model(const std::shared_ptr<const Model>& model, const std::shared_ptr<Backend>& backend,
              const std::vector<Token>& tokens, std::size_t chunk, std::size_t decoded,
              Dtype cache) {
  SessionOptions options;
  options.context = static_cast<std::int64_t>(tokens.size());
  options.cache_dtype = cache;
  options.keep_routes = true;
  Session session(model, backend, {}, options);
  Run run;
  for (std::size_t begin = 0; begin < tokens.size();) {
    const std::size_t prompt = tokens.size() - decoded;
    const std::size_t count = begin < prompt ? std::min(chunk, prompt - begin) : 1;
    const Evaluation step = session.step(std::span(tokens).subspan(begin, count), LogitsOf::all);
    run.logits.insert(run.logits.end(), step.logits.begin(), step.logits.end());
    run.routes.resize(step.routes.size());
    for (std::size_t layer = 0; layer < step.routes.size(); ++layer) {
      std::vector<bool>& row = run.routes[layer];
      row.resize(begin + count);
      for (const std::int32_t token : step.routes[layer])
        row[begin + static_cast<std::size_t>(token)] = true;
    }
    begin += count;
  }
  // What was counted along the way is what the lists say.
  const RoutingStats stats = session.routing();
  std::size_t next = 0;
  for (const std::int64_t routed : stats.routed) {
    if (routed < 0) continue;
    const std::vector<bool>& row = run.routes[next++];
    CHECK(routed == std::count(row.begin(), row.end(), true));
  }
  return run;
}

std::vector<fs::path> checkpoints() {
  std::vector<fs::path> folders;
  for (const auto& entry : fs::directory_iterator(fs::path(L2A_TEST_DATA) / "checkpoints")) {
    folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace

TEST_CASE(
    "every checkpoint gives the expected logits and routes, in one chunk, in sevens and token by "
    "token") {
  const test::TemporaryFolder folder;
  REQUIRE(checkpoints().size() == 11);
  for (const auto& backend : {make_cpu_backend(), make_reference_backend()}) {
    for (const fs::path& checkpoint : checkpoints()) {
      CAPTURE(backend->name());
      CAPTURE(checkpoint.filename().string());
      const Expected expected = load_expected(checkpoint);
      const auto model = test::load_checkpoint(folder, checkpoint.filename().string(), backend);
      const std::size_t count = expected.tokens.size();
      struct Split {
        std::size_t chunk, decoded;
      };
      for (const Split split :
           {Split{count, 0}, Split{7, 0}, Split{7, count / 2}, Split{count, count / 2}}) {
        CAPTURE(split.chunk);
        CAPTURE(split.decoded);
        const Run run =
            run_model(model, backend, expected.tokens, split.chunk, split.decoded, Dtype::f32);
        REQUIRE(run.logits.size() == expected.logits.size());
        CHECK(test::relative_error(run.logits, expected.logits) < 1e-4);
        CHECK(run.routes == expected.routes);
      }
    }
  }
}

TEST_CASE("with an f16 cache the size of chunks changes nothing beyond rounding") {
  const test::TemporaryFolder folder;
  const auto backend = make_cpu_backend();
  for (const std::string name :
       {"l2a-qwen3-tiny", "l2a-qwen3-pruned", "l2a-llama-widen", "qwen3-tiny"}) {
    CAPTURE(name);
    const fs::path checkpoint = fs::path(L2A_TEST_DATA) / "checkpoints" / name;
    const Expected expected = load_expected(checkpoint);
    const auto model = test::load_checkpoint(folder, name, backend);
    const std::size_t count = expected.tokens.size();
    const Run whole = run_model(model, backend, expected.tokens, count, 0, Dtype::f16);
    const Run sevens = run_model(model, backend, expected.tokens, 7, count / 2, Dtype::f16);
    // Sums in another order may round a cached value to the other neighbour: 2^-11 of it.
    CHECK(test::relative_error(sevens.logits, whole.logits) < 3e-4);
    CHECK(test::relative_error(whole.logits, expected.logits) < 2e-3);
  }
}
