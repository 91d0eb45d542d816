#include "convert/hf_writer.h"

#include <algorithm>
#include <iomanip>
#include <map>

#include "convert/hf_config.h"
#include "convert/hf_config_json.h"
#include "convert/hf_tokenizer_json.h"
#include "convert/output_folder.h"
#include "convert/safetensors_writer.h"
#include "convert/tensor_plan.h"
#include "graph/error.h"
#include "models/quote.h"
#include "ops/dequantize.h"
#include "ops/quantize.h"

namespace l2a {
namespace {

struct PlacedTensor {
  SourceTensor tensor;
  std::string name;  // in the checkpoint
  Dtype dtype = Dtype::f32;
  std::uint64_t bytes = 0;
};

struct Shard {
  std::string file;
  std::vector<PlacedTensor> tensors;
  std::uint64_t bytes = 0;
};

SafetensorsType safetensors_type(Dtype dtype) {
  switch (dtype) {
    case Dtype::f16:
      return SafetensorsType::f16;
    case Dtype::bf16:
      return SafetensorsType::bf16;
    default:
      return SafetensorsType::f32;
  }
}

const char* torch_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::f16:
      return "float16";
    case Dtype::bf16:
      return "bfloat16";
    default:
      return "float32";
  }
}

HfConfig hf_config(const Checkpoint& checkpoint) {
  HfConfig config{};
  config.model = checkpoint.config;
  // Qwen2 always has the one and never the other; elsewhere one field says both.
  const bool bias = checkpoint.attention_bias || checkpoint.output_bias;
  config.attention_bias = bias || config.model.family == Family::qwen2;
  config.output_bias = bias && config.model.family != Family::qwen2;
  config.tied_embeddings = checkpoint.tied_embeddings;
  return config;
}

Dtype type_of_source(const Checkpoint& checkpoint) {
  std::optional<Dtype> type;
  for (const SourceTensor& tensor : checkpoint.tensors) {
    if (tensor.always_f32) continue;
    if (dtype_info(tensor.stored).quantized) return Dtype::bf16;
    if (type && *type != tensor.stored) return Dtype::f32;  // holds both
    type = tensor.stored;
  }
  return type.value_or(Dtype::f32);
}

// Of a norm, a bias or a router: small.
bool holds_exactly(Dtype dtype, const SourceTensor& tensor) {
  std::vector<float> values(static_cast<std::size_t>(tensor.rows() * tensor.row_length()));
  std::vector<float> back(values.size());
  tensor.read(0, values);
  std::vector<std::byte> stored(dtype_bytes(dtype, static_cast<std::int64_t>(values.size())));
  quantize_row(dtype, values, stored);
  dequantize_row(dtype, stored, back);
  return back == values;
}

// Every tensor of the plan, under its original name and with its rows in the original order.
std::vector<PlacedTensor> place_tensors(const Checkpoint& checkpoint, const HfConfig& config,
                                        Dtype type) {
  std::map<std::string_view, const SourceTensor*> left;
  for (const SourceTensor& tensor : checkpoint.tensors) left.emplace(tensor.name, &tensor);
  std::vector<PlacedTensor> placed;
  for (const PlannedTensor& planned : plan_tensors(config)) {
    const auto found = left.find(planned.target);
    if (found == left.end()) {
      if (planned.optional) continue;
      throw FileError(concat(checkpoint.origin, ": tensor ", quote(planned.target), " is missing"));
    }
    PlacedTensor one{*found->second, planned.source};
    left.erase(found);
    if (one.tensor.shape != planned.shape) {
      throw FileError(concat(checkpoint.origin, ": tensor ", quote(planned.target), " has shape ",
                             shape_text(one.tensor.shape), "; ", shape_text(planned.shape),
                             " was expected"));
    }
    if (planned.interleaved_heads > 0) {
      one.tensor.read =
          permuted_rows(std::move(one.tensor.read), one.tensor.row_length(),
                        [planned](std::int64_t row) { return interleaved_row(planned, row); });
    }
    one.dtype = one.tensor.always_f32 && !holds_exactly(type, one.tensor) ? Dtype::f32 : type;
    one.bytes = dtype_bytes(one.dtype, one.tensor.rows() * one.tensor.row_length());
    placed.push_back(std::move(one));
  }
  if (!left.empty()) {
    throw FileError(concat(checkpoint.origin, ": tensor ", quote(left.begin()->first),
                           " has no place in a Hugging Face checkpoint"));
  }
  return placed;
}

std::vector<Shard> divide(std::vector<PlacedTensor> tensors, std::uint64_t limit) {
  std::vector<Shard> shards(1);
  for (PlacedTensor& tensor : tensors) {
    if (!shards.back().tensors.empty() && shards.back().bytes + tensor.bytes > limit) {
      shards.emplace_back();
    }
    shards.back().bytes += tensor.bytes;
    shards.back().tensors.push_back(std::move(tensor));
  }
  const auto number = [](std::size_t value) {
    return concat(std::setw(5), std::setfill('0'), value);
  };
  for (std::size_t i = 0; i < shards.size(); ++i) {
    shards[i].file = shards.size() == 1 ? "model.safetensors"
                                        : concat("model-", number(i + 1), "-of-",
                                                 number(shards.size()), ".safetensors");
  }
  return shards;
}

std::uint64_t write_shard(const Shard& shard, const OutputFolder& folder, TensorStream& stream) {
  SafetensorsWriter writer(folder.file(shard.file), folder.shown(shard.file));
  writer.set_metadata("format", "pt");  // without it transformers does not load the file
  for (const PlacedTensor& one : shard.tensors) {
    writer.add_tensor(one.name, safetensors_type(one.dtype), one.tensor.shape);
  }
  for (const PlacedTensor& one : shard.tensors) {
    stream.run(one.tensor, one.dtype, {},
               [&](std::span<const std::byte> bytes) { writer.write(bytes); });
  }
  writer.finish();
  return writer.file_bytes();
}

nlohmann::ordered_json index_json(const std::vector<Shard>& shards, std::uint64_t total) {
  nlohmann::json files = nlohmann::json::object();
  for (const Shard& shard : shards) {
    for (const PlacedTensor& one : shard.tensors) files[one.name] = shard.file;
  }
  return {{"metadata", {{"total_size", total}}}, {"weight_map", files}};
}

// Nothing, with a warning, for one that cannot be written: the weights are worth having without it.
std::optional<TokenizerData> read_tokenizer(const Checkpoint& checkpoint, ConvertResult& result) {
  if (!checkpoint.tokenizer) return std::nullopt;
  try {
    return checkpoint.tokenizer();
  } catch (const FileError& error) {
    result.warnings.push_back(concat(error.what(), "; the folder has no tokenizer"));
    return std::nullopt;
  }
}

// The small files, by name: all of them are made before the first byte is written.
std::map<std::string, std::string> small_files(const Checkpoint& checkpoint, HfConfig config,
                                               Dtype type,
                                               const std::optional<TokenizerData>& tokenizer) {
  std::map<std::string, std::string> files;
  try {
    if (tokenizer) {
      config.bos_id = tokenizer->bos;
      config.eos_id = tokenizer->eos;
      config.padding_id = tokenizer->padding;
      files["tokenizer.json"] = hf_tokenizer_json(*tokenizer, checkpoint.origin).dump(1);
      files["tokenizer_config.json"] =
          hf_tokenizer_config_json(*tokenizer, config.model.context).dump(1);
      const auto generation = hf_generation_json(*tokenizer);
      if (!generation.is_null()) files["generation_config.json"] = generation.dump(1);
    }
    files["config.json"] = hf_config_json(config, torch_name(type)).dump(1);
  } catch (const nlohmann::json::exception&) {
    throw FileError(concat(checkpoint.origin, ": the tokenizer holds text that is not UTF-8"));
  }
  return files;
}

}  // namespace

ConvertResult write_hf(const Checkpoint& checkpoint, const HfWriteOptions& options) {
  ConvertResult result;
  result.architecture = checkpoint.config.architecture;
  result.warnings = checkpoint.warnings;
  const HfConfig config = hf_config(checkpoint);
  const Dtype type = options.type.value_or(type_of_source(checkpoint));
  std::vector<PlacedTensor> tensors = place_tensors(checkpoint, config, type);
  result.tensors = tensors.size();
  const std::vector<Shard> shards = divide(std::move(tensors), options.shard_bytes);
  std::uint64_t total = 0;
  for (const Shard& shard : shards) total += shard.bytes;
  auto files = small_files(checkpoint, config, type, read_tokenizer(checkpoint, result));
  if (shards.size() > 1) {
    files["model.safetensors.index.json"] = index_json(shards, total).dump(1);
  }

  std::vector<std::string> names;
  names.reserve(shards.size() + files.size());
  for (const Shard& shard : shards) names.push_back(shard.file);
  for (const auto& [name, text] : files) names.push_back(name);
  OutputFolder folder(options.folder, names);
  TensorStream stream(checkpoint.origin, options, total);
  for (const Shard& shard : shards) result.file_bytes += write_shard(shard, folder, stream);
  for (const auto& [name, text] : files) {
    TemporaryFile file(folder.file(name), folder.shown(name));
    file.write(std::as_bytes(std::span(text)));
    file.write(std::as_bytes(std::span("\n", 1)));
    file.commit();
    result.file_bytes += file.size();
  }
  folder.commit();
  return result;
}

}  // namespace l2a
