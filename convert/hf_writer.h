// A checkpoint as a Hugging Face folder: config.json, generation_config.json, the tokenizer, and safetensors under
// the original names, streamed. The way back to PyTorch for a model that was tuned here.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "convert/convert.h"

namespace l2a {

struct HfWriteOptions : StreamOptions {
  std::filesystem::path folder;  // must be absent or empty
  // f32, f16 or bf16, of the matrices; without it that of the source, or bf16 where the source is quantized. Norms,
  // biases and routers have it where it holds every one of their bits, and else f32.
  std::optional<Dtype> type;
  std::uint64_t shard_bytes = 5'000'000'000;  // a model above it becomes several files and an index
};

// With a buffer of a few dozen MiB whatever the model's size. Throws as write_gguf does, and FileError for a tensor
// that such a checkpoint has no name for; then no folder is left.
ConvertResult write_hf(const Checkpoint& checkpoint, const HfWriteOptions& options);

}  // namespace l2a
