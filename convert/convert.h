// A checkpoint becomes one GGUF file: metadata, then its tensors in the types of a recipe, streamed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "convert/checkpoint.h"
#include "convert/recipe.h"
#include "convert/tensor_stream.h"
#include "graph/dtype.h"

namespace l2a {

// By the name of a matrix, a factor for each of its columns (encode.h).
using Importance = std::map<std::string, std::vector<float>, std::less<>>;

struct WriteOptions : StreamOptions {
  std::filesystem::path target;            // replaced when it exists
  const Recipe* recipe = nullptr;          // of recipes(); null: every tensor keeps its type
  const Importance* importance = nullptr;  // used by the types whose scales are searched for
};

struct ConvertResult {
  std::string architecture;
  std::size_t tensors = 0;
  std::uint64_t file_bytes = 0;
  std::vector<std::string> warnings;  // the checkpoint's and more, one line each
};

// Tensor by tensor, with a buffer of a few dozen MiB whatever the model's size. The same input gives the same
// bytes on every machine. Throws FileError for values that are not finite or that a type cannot hold, and when
// the target cannot be written or is one of the inputs; then no file is left or changed.
ConvertResult write_gguf(const Checkpoint& checkpoint, const WriteOptions& options);

struct ConvertOptions {
  std::filesystem::path source;  // folder with config.json and safetensors, or a GGUF file
  std::filesystem::path target;
  Dtype type = Dtype::f16;  // of matrices, where a recipe has its name
};
// Opens and writes, nothing between.
ConvertResult convert_checkpoint(const ConvertOptions& options);

// Throws FileError when the target is one of the inputs.
void refuse_input_as_target(const Checkpoint& checkpoint, const std::filesystem::path& target);

}  // namespace l2a
