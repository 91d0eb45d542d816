#include "convert/checkpoint.h"

#include <numeric>

#include "graph/error.h"
#include "models/gguf.h"
#include "ops/dequantize.h"

namespace l2a {

std::int64_t SourceTensor::rows() const {
  const std::int64_t values =
      std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  return values / row_length();
}

ReadRows permuted_rows(ReadRows read, std::int64_t length,
                       std::function<std::int64_t(std::int64_t row)> source) {
  return [read = std::move(read), length, source = std::move(source)](std::int64_t first,
                                                                      std::span<float> out) {
    const auto width = static_cast<std::size_t>(length);
    for (std::size_t at = 0; at < out.size(); at += width) {
      read(source(first + static_cast<std::int64_t>(at / width)), out.subspan(at, width));
    }
  };
}

namespace {

// A token whose id no row of the embedding stands for would be read past its end.
void require_fitting_tokenizer(const GgufFile& file, const ModelConfig& config) {
  if (!TokenizerData::present(file) || !file.has("tokenizer.ggml.tokens")) return;
  const std::size_t tokens = file.get_strings("tokenizer.ggml.tokens").size();
  if (tokens > static_cast<std::size_t>(config.vocabulary)) {
    throw FileError(concat(file.path().string(), ": tokenizer.ggml.tokens has ", tokens,
                           " entries; the embedding has ", config.vocabulary, " rows"));
  }
}

}  // namespace

Checkpoint open_gguf_checkpoint(const std::filesystem::path& path) {
  const auto file = GgufFile::open(path);
  Checkpoint checkpoint;
  checkpoint.origin = path.string();
  checkpoint.config = ModelConfig::from_gguf(*file);
  checkpoint.metadata = GgufMetadata(*file);
  checkpoint.tied_embeddings = file->find_tensor("output.weight") == nullptr;
  checkpoint.attention_bias = file->find_tensor("blk.0.attn_q.bias") != nullptr;
  checkpoint.output_bias = file->find_tensor("blk.0.attn_output.bias") != nullptr;
  checkpoint.inputs.push_back(path);
  require_fitting_tokenizer(*file, checkpoint.config);
  if (TokenizerData::present(*file)) {
    checkpoint.tokenizer = [file] { return TokenizerData::from_gguf(*file); };
  }
  for (const GgufTensor& tensor : file->tensors()) {
    if (tensor.dtype == Dtype::i32) {
      throw FileError(
          concat(path.string(), ": tensor '", tensor.name, "' is i32; a weight type was expected"));
    }
    SourceTensor source{tensor.name,  tensor.shape, tensor.name, false,
                        tensor.dtype, tensor.data,  tensor.data, {}};
    source.always_f32 = tensor.shape.size() < 2 || tensor.name.ends_with("attn_router.weight");
    const std::int64_t length = source.row_length();
    if (length % dtype_info(tensor.dtype).block_elements != 0) {
      throw FileError(concat(path.string(), ": tensor '", tensor.name, "' is a vector of ",
                             tensor.dtype, " blocks; plain values were expected"));
    }
    // The closure keeps the mapping.
    source.read = [file, &tensor, row_bytes = dtype_bytes(tensor.dtype, length), length](
                      std::int64_t first, std::span<float> out) {
      const auto rows = out.size() / static_cast<std::size_t>(length);
      dequantize_row(
          tensor.dtype,
          tensor.data.subspan(static_cast<std::size_t>(first) * row_bytes, rows * row_bytes), out);
    };
    checkpoint.tensors.push_back(std::move(source));
  }
  return checkpoint;
}

Checkpoint open_checkpoint(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? open_hf_checkpoint(path)
                                             : open_gguf_checkpoint(path);
}

}  // namespace l2a
