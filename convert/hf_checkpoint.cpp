// A Hugging Face folder as a checkpoint: every tensor that config.json asks for, under its GGUF name.
#include <set>

#include "convert/checkpoint.h"
#include "convert/hf_config.h"
#include "convert/hf_tokenizer.h"
#include "convert/model_metadata.h"
#include "convert/safetensors.h"
#include "convert/tensor_plan.h"
#include "graph/error.h"
#include "models/quote.h"

namespace l2a {
namespace {

bool is_float(SafetensorsType type) {
  return type == SafetensorsType::f32 || type == SafetensorsType::f16 ||
         type == SafetensorsType::bf16 || type == SafetensorsType::f64;
}

// The row of the checkpoint that becomes row `row` (see PlannedTensor::interleaved_heads).
std::int64_t source_row(const PlannedTensor& planned, std::int64_t row) {
  const std::int64_t head_dim = planned.shape[0] / planned.interleaved_heads;
  const std::int64_t in_head = row % head_dim;
  return row - in_head + (in_head % 2) * (head_dim / 2) + in_head / 2;
}

SourceTensor source_tensor(const PlannedTensor& planned, const SafetensorsTensor& tensor,
                           const std::shared_ptr<const Safetensors>& files) {
  SourceTensor source{planned.target, planned.shape,
                      planned.source, planned.always_f32 || planned.shape.size() < 2,
                      Dtype::f32,     {},
                      tensor.data,    {}};
  const std::int64_t length = source.row_length();
  // The closures keep the mappings.
  if (planned.interleaved_heads == 0) {
    source.read = [files, &tensor, length](std::int64_t first, std::span<float> out) {
      read_floats(tensor, first * length, out);
    };
  } else {
    source.read = [files, &tensor, length, planned](std::int64_t first, std::span<float> out) {
      const auto width = static_cast<std::size_t>(length);
      for (std::size_t at = 0; at < out.size(); at += width) {
        const std::int64_t row = first + static_cast<std::int64_t>(at / width);
        read_floats(tensor, source_row(planned, row) * length, out.subspan(at, width));
      }
    };
  }
  return source;
}

// Finds every planned tensor, and says what is not used.
void match_tensors(Checkpoint& checkpoint, const HfConfig& config,
                   const std::shared_ptr<const Safetensors>& files) {
  const std::string& origin = checkpoint.origin;
  std::set<std::string_view> used;
  for (const PlannedTensor& planned : plan_tensors(config)) {
    const SafetensorsTensor* tensor = files->find(planned.source);
    if (tensor == nullptr) {
      if (planned.optional) {
        continue;
      }
      throw FileError(concat(origin, ": tensor ", quote(planned.source), " is missing"));
    }
    if (tensor->shape != planned.shape) {
      throw FileError(concat(origin, ": tensor ", quote(planned.source), " has shape ",
                             shape_text(tensor->shape), "; config.json asks for ",
                             shape_text(planned.shape)));
    }
    if (!is_float(tensor->type)) {
      throw FileError(concat(origin, ": tensor ", quote(planned.source), " is ",
                             safetensors_type_name(tensor->type),
                             "; F32, F16, BF16 or F64 was expected"));
    }
    used.insert(tensor->name);
    checkpoint.tensors.push_back(source_tensor(planned, *tensor, files));
  }
  std::size_t unused = 0;
  std::string first;
  for (const auto& [name, tensor] : files->tensors()) {
    if (!used.contains(name) && unused++ == 0) {
      first = name;
    }
  }
  if (unused > 0) {
    checkpoint.warnings.push_back(
        concat(origin, ": ", unused, " tensors are not used, ", quote(first), " for one"));
  }
}

}  // namespace

Checkpoint open_hf_checkpoint(const std::filesystem::path& folder) {
  Checkpoint checkpoint;
  checkpoint.origin = folder.string();
  if (!std::filesystem::is_directory(folder)) {
    throw FileError(concat(checkpoint.origin,
                           ": is not a folder; one with config.json and safetensors was expected"));
  }
  const HfConfig config = HfConfig::read(folder);
  checkpoint.config = config.model;
  checkpoint.tied_embeddings = config.tied_embeddings;
  checkpoint.attention_bias = config.attention_bias;
  checkpoint.output_bias = config.output_bias;
  const auto files = std::make_shared<const Safetensors>(Safetensors::open_folder(folder));
  match_tensors(checkpoint, config, files);
  // After the tensors: the embedding's size is then proven, and with it the vocabulary's.
  const auto tokenizer = HfTokenizer::read(folder, config);
  checkpoint.inputs.assign(files->files().begin(), files->files().end());
  checkpoint.inputs.push_back(folder / "config.json");
  checkpoint.inputs.push_back(folder / "generation_config.json");
  if (tokenizer) {
    checkpoint.warnings.insert(checkpoint.warnings.end(), tokenizer->warnings.begin(),
                               tokenizer->warnings.end());
    checkpoint.inputs.insert(checkpoint.inputs.end(), tokenizer->files.begin(),
                             tokenizer->files.end());
  } else {
    checkpoint.warnings.push_back(
        concat(checkpoint.origin, ": has no tokenizer.json; the file will take token ids only"));
  }
  set_model_metadata(checkpoint.metadata, config.model);
  set_tokenizer_metadata(checkpoint.metadata, tokenizer ? &tokenizer->data : nullptr);
  return checkpoint;
}

}  // namespace l2a
