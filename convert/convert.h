// A Hugging Face checkpoint folder becomes one GGUF file. Dense models get the names and keys of
// the GGUF ecosystem; L2A models get the same and their own beside them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "graph/dtype.h"

namespace l2a {

struct ConvertOptions {
  std::filesystem::path source;  // folder with config.json and safetensors
  std::filesystem::path target;  // the .gguf file; replaced when it exists
  Dtype type = Dtype::f16;       // of matrices: f32, f16, bf16 or q8_0; the rest is f32
  // Called as data is written, with bytes of the output's tensor data.
  std::function<void(std::uint64_t done, std::uint64_t total, std::string_view tensor)> progress;
};

struct ConvertResult {
  std::string architecture;
  std::size_t tensors = 0;
  std::uint64_t file_bytes = 0;
  std::vector<std::string> warnings;  // one line each
};

// Streams tensor by tensor, with a buffer of a few MiB. Throws FileError for a checkpoint that is
// malformed, incomplete or not supported, for NaN, infinity or a value that `type` cannot hold, and
// when the target cannot be written or is one of the inputs; then no file is left or changed.
ConvertResult convert_checkpoint(const ConvertOptions& options);

}  // namespace l2a
