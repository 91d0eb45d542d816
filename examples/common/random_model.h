// Models of random weights in the shapes of real ones, made in memory: speed does not depend on what weights say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "convert/recipe.h"
#include "graph/thread_pool.h"
#include "models/tensor_source.h"

namespace l2a {

struct RandomModelOptions {
  std::string shape;               // one of random_model_shapes()
  const Recipe* recipe = nullptr;  // the types of its matrices
  std::optional<L2aMode> l2a;      // none: dense
  std::int64_t window = 4095;
  std::int64_t sinks = 0;
};

// "0.6b" and so on: Qwen3's shapes; "tiny" is for trying things out. The embedding is also the head.
std::vector<std::string> random_model_shapes();

// Takes the memory that the file would take, and a fraction of a second a gigabyte. Norms are 1; the blocks of
// quantized types are random bits under scales that give weights of about 0.02; routers are random too.
class RandomModel final : public TensorSource {
 public:
  explicit RandomModel(const RandomModelOptions& options);

  std::string name() const override;  // "random 0.6b q8_0"
  ModelConfig config() const override { return config_; }
  bool has(const std::string& tensor) const override;
  TensorData get(const std::string& tensor, std::span<const std::int64_t> shape) const override;

 private:
  RandomModelOptions options_;
  ModelConfig config_;
  mutable ThreadPool pool_;
};

}  // namespace l2a
