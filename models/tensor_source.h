// Where a model comes from when it is not a file: a configuration, and tensors by the names that a GGUF file would
// give them.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "graph/dtype.h"
#include "models/model_config.h"

namespace l2a {

struct TensorData {
  Dtype dtype = Dtype::f32;
  std::span<const std::byte> data;  // valid while `owner` lives
  std::shared_ptr<const void> owner;
};

class TensorSource {
 public:
  TensorSource() = default;
  TensorSource(const TensorSource&) = delete;
  TensorSource& operator=(const TensorSource&) = delete;
  virtual ~TensorSource() = default;

  virtual std::string name() const = 0;  // for messages: the path of a file
  virtual ModelConfig config() const = 0;
  virtual bool has(const std::string& tensor) const = 0;
  // Its bytes are what the dtype takes for that shape. Throws FileError when there is none of that name and shape.
  virtual TensorData get(const std::string& tensor, std::span<const std::int64_t> shape) const = 0;
};

}  // namespace l2a
