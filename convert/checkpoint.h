// A model on its way from one file to another: its metadata as GGUF has it, and its tensors, read only
// when they are written. Where it comes from and what becomes of it know nothing of each other.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "convert/gguf_metadata.h"
#include "graph/dtype.h"
#include "models/model_config.h"
#include "models/tokenizer.h"

namespace l2a {

// As many rows as `out` holds, from `first` on, as floats. Safe from several threads.
using ReadRows = std::function<void(std::int64_t first, std::span<float> out)>;

struct SourceTensor {
  std::string name;                 // in GGUF
  std::vector<std::int64_t> shape;  // outermost first
  std::string origin;               // its name where it comes from, for messages
  bool always_f32 = false;          // norms, biases and routers are, whatever the type of the rest
  Dtype stored = Dtype::f32;        // its type where it comes from
  // Its blocks where the source is a GGUF file, else empty: copied as they are when the type stays.
  std::span<const std::byte> bytes;
  // Where it lies in a mapped file, if it does: given back to the system once it is written.
  std::span<const std::byte> mapped;
  ReadRows read;

  // A vector counts as rows of one value.
  std::int64_t row_length() const { return shape.size() > 1 ? shape.back() : 1; }
  std::int64_t rows() const;
};

struct Checkpoint {
  std::string origin;  // its path, for messages
  ModelConfig config;
  bool tied_embeddings = false;
  bool attention_bias = false;  // Q, K, V
  bool output_bias = false;     // the attention's output projection
  GgufMetadata metadata;
  std::vector<SourceTensor> tensors;
  // Empty without one. Throws FileError for one that is malformed or of a kind not supported here.
  std::function<TokenizerData()> tokenizer;
  std::vector<std::filesystem::path> inputs;  // files that were read
  std::vector<std::string> warnings;          // one line each
};

// Rows in another order: row `r` is row `source(r)` of what `read` gives, each `length` values long.
ReadRows permuted_rows(ReadRows read, std::int64_t length,
                       std::function<std::int64_t(std::int64_t row)> source);

// A Hugging Face folder. Throws FileError for one that is malformed, incomplete or not supported.
Checkpoint open_hf_checkpoint(const std::filesystem::path& folder);
// A GGUF file of an architecture that runs here.
Checkpoint open_gguf_checkpoint(const std::filesystem::path& file);
// Whichever of the two is there.
Checkpoint open_checkpoint(const std::filesystem::path& path);

}  // namespace l2a
