// The small checkpoints with what they must compute, and a model's run over their tokens.
#pragma once

#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <memory>
#include <vector>

#include "convert/safetensors.h"
#include "tests/models/test_model.h"

namespace l2a::test {

struct Expected {
  std::vector<Token> tokens;
  std::vector<float> logits;              // [T, V]
  std::vector<std::vector<bool>> routes;  // [L', T]
};

inline Expected load_expected(const std::filesystem::path& folder) {
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

struct CheckpointRun {
  std::vector<float> logits;
  std::vector<std::vector<bool>> routes;
};

// All tokens: the first in chunks, the last `decoded` one by one.
inline CheckpointRun run_model(const std::shared_ptr<const Model>& model,
                               const std::shared_ptr<Backend>& backend,
                               const std::vector<Token>& tokens, std::size_t chunk,
                               std::size_t decoded, Dtype cache) {
  SessionOptions options;
  options.context = static_cast<std::int64_t>(tokens.size());
  options.cache_dtype = cache;
  options.keep_routes = true;
  Session session(model, backend, {}, options);
  CheckpointRun run;
  for (std::size_t begin = 0; begin < tokens.size();) {
    const std::size_t prompt = tokens.size() - decoded;
    const std::size_t count = begin < prompt ? std::min(chunk, prompt - begin) : 1;
    const Evaluation step = session.step(std::span(tokens).subspan(begin, count), LogitsOf::all);
    run.logits.insert(run.logits.end(), step.logits().begin(), step.logits().end());
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

inline std::vector<std::filesystem::path> checkpoints() {
  std::vector<std::filesystem::path> folders;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(L2A_TEST_DATA) / "checkpoints")) {
    folders.push_back(entry.path());
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

}  // namespace l2a::test
