// A Hugging Face folder as a checkpoint: every tensor that config.json asks for, under its GGUF name.
#include <algorithm>
#include <set>

#include "convert/checkpoint.h"
#include "convert/hf_config.h"
#include "convert/hf_tokenizer.h"
#include "convert/model_metadata.h"
#include "convert/safetensors.h"
#include "convert/tensor_plan.h"
#include "convert/weight_scale.h"
#include "graph/error.h"
#include "models/quote.h"

namespace l2a {
namespace {

// The type that holds a tensor's values as they are; nothing for one that holds no weights. Scaled F8 values have more
// bits than bf16, in which such models are computed.
std::optional<Dtype> weight_dtype(SafetensorsType type) {
  switch (type) {
    case SafetensorsType::f64:
    case SafetensorsType::f32:
      return Dtype::f32;
    case SafetensorsType::f16:
      return Dtype::f16;
    case SafetensorsType::bf16:
    case SafetensorsType::f8_e4m3:
      return Dtype::bf16;
    default:
      return std::nullopt;
  }
}

// The closures keep the mappings.
ReadRows row_reader(const SafetensorsTensor& tensor, std::int64_t length,
                    std::optional<WeightScale> scale,
                    const std::shared_ptr<const Safetensors>& files) {
  return
      [files, &tensor, length, scale = std::move(scale)](std::int64_t first, std::span<float> out) {
        read_floats(tensor, first * length, out);
        if (scale) scale->apply(first, out);
      };
}

SourceTensor source_tensor(const PlannedTensor& planned) {
  SourceTensor source;
  source.name = planned.target;
  source.shape = planned.shape;
  source.origin = planned.source;
  source.always_f32 = planned.always_f32 || planned.shape.size() < 2;
  return source;
}

SourceTensor constant_tensor(const PlannedTensor& planned) {
  SourceTensor source = source_tensor(planned);
  source.read = [values = planned.constant, length = source.row_length()](std::int64_t first,
                                                                          std::span<float> out) {
    std::copy_n(values.begin() + first * length, out.size(), out.begin());
  };
  return source;
}

// The tensor that the checkpoint has for it; null when it has none and needs none.
const SafetensorsTensor* find_tensor(const PlannedTensor& planned, const std::string& origin,
                                     const Safetensors& files) {
  const SafetensorsTensor* tensor = files.find(planned.source);
  if (tensor == nullptr) {
    if (planned.optional) {
      return nullptr;
    }
    throw FileError(concat(origin, ": tensor ", quote(planned.source), " is missing"));
  }
  if (tensor->shape != planned.shape) {
    throw FileError(concat(origin, ": tensor ", quote(planned.source), " has shape ",
                           shape_text(tensor->shape), "; config.json asks for ",
                           shape_text(planned.shape)));
  }
  if (!weight_dtype(tensor->type)) {
    throw FileError(concat(origin, ": tensor ", quote(planned.source), " is ",
                           safetensors_type_name(tensor->type),
                           "; F32, F16, BF16, F64 or F8_E4M3 was expected"));
  }
  return tensor;
}

// Finds every planned tensor, and says what is not used.
void match_tensors(Checkpoint& checkpoint, const HfConfig& config,
                   const std::shared_ptr<const Safetensors>& files) {
  const std::string& origin = checkpoint.origin;
  std::set<std::string_view> used;
  for (const PlannedTensor& planned : plan_tensors(config)) {
    if (!planned.constant.empty()) {
      checkpoint.tensors.push_back(constant_tensor(planned));
      continue;
    }
    const SafetensorsTensor* tensor = find_tensor(planned, origin, *files);
    if (tensor == nullptr) continue;
    used.insert(tensor->name);
    std::optional<WeightScale> scale;
    if (tensor->type == SafetensorsType::f8_e4m3) {
      scale = WeightScale::find(*tensor, *files, config.scale_block, origin);
      if (scale) {
        used.insert(files->find(scale->name())->name);
      } else if (config.scaled_float8) {
        throw FileError(concat(origin, ": tensor ", quote(tensor->name),
                               " has no scale, which quantization_config asks for"));
      }
    }
    SourceTensor source = source_tensor(planned);
    source.stored = *weight_dtype(tensor->type);
    source.mapped = tensor->data;
    source.read = row_reader(*tensor, source.row_length(), std::move(scale), files);
    if (planned.interleaved_heads > 0) {
      source.read =
          permuted_rows(std::move(source.read), source.row_length(),
                        [planned](std::int64_t row) { return rotated_half_row(planned, row); });
    }
    checkpoint.tensors.push_back(std::move(source));
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
  if (tokenizer) checkpoint.tokenizer = [data = tokenizer->data] { return data; };
  return checkpoint;
}

}  // namespace l2a
