// The small checkpoints of tests/data as models, and what they compute.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "convert/convert.h"
#include "models/session.h"
#include "tests/convert/checkpoint_folder.h"

namespace l2a::test {

// Converts a Hugging Face folder to f32 and opens the result.
inline std::shared_ptr<const GgufFile> convert_to(const std::filesystem::path& target,
                                                  const std::filesystem::path& source) {
  ConvertOptions options;
  options.source = source;
  options.target = target;
  options.type = Dtype::f32;
  convert_checkpoint(options);
  return GgufFile::open(target);
}

inline std::shared_ptr<const Model> load_checkpoint(const TemporaryFolder& folder,
                                                    std::string_view name,
                                                    const std::shared_ptr<Backend>& backend) {
  return Model::load(convert_to(folder / "model.gguf", checkpoint(name)), backend);
}

// Tokens that follow no pattern, inside every test checkpoint's vocabulary.
inline std::vector<Token> some_tokens(std::size_t count) {
  std::vector<Token> tokens;
  for (std::size_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<Token>((i * i * 37 + i * 101 + 5) % 251));
  return tokens;
}

// The logits of every token: those before `decoded` from the end in chunks, the rest one by one.
inline std::vector<float> logits_of(Session& session, std::span<const Token> tokens,
                                    std::size_t chunk, std::size_t decoded = 0) {
  std::vector<float> logits;
  const std::size_t prompt = tokens.size() - decoded;
  for (std::size_t begin = 0; begin < tokens.size();) {
    const std::size_t count = begin < prompt ? std::min(chunk, prompt - begin) : 1;
    const Evaluation step = session.step(tokens.subspan(begin, count), LogitsOf::all);
    logits.insert(logits.end(), step.logits().begin(), step.logits().end());
    begin += count;
  }
  return logits;
}

// The largest difference, of the largest expected value. NaN anywhere is NaN.
inline double relative_error(std::span<const float> actual, std::span<const float> expected) {
  double worst = actual.size() == expected.size() ? 0.0 : INFINITY, largest = 0;
  for (std::size_t i = 0; i < std::min(actual.size(), expected.size()); ++i) {
    const double difference = std::fabs(static_cast<double>(actual[i]) - expected[i]);
    if (std::isnan(difference)) return NAN;
    worst = std::max(worst, difference);
    largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
  }
  return worst / largest;
}

}  // namespace l2a::test
