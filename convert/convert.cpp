#include "convert/convert.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "convert/encode/encode.h"
#include "convert/gguf_writer.h"
#include "convert/hf_config.h"
#include "convert/hf_tokenizer.h"
#include "convert/model_metadata.h"
#include "convert/safetensors.h"
#include "convert/tensor_plan.h"
#include "graph/error.h"
#include "models/quote.h"
#include "ops/quantize.h"

namespace l2a {
namespace {

constexpr std::int64_t kSliceValues = std::int64_t{1} << 20;  // 4 MiB of floats

struct Work {
  PlannedTensor planned;
  const SafetensorsTensor* source;
  Dtype dtype;
};

bool is_float(SafetensorsType type) {
  return type == SafetensorsType::f32 || type == SafetensorsType::f16 ||
         type == SafetensorsType::bf16 || type == SafetensorsType::f64;
}

Dtype stored_type(const PlannedTensor& planned, Dtype wanted) {
  if (planned.always_f32 || planned.shape.size() < 2) {
    return Dtype::f32;
  }
  return planned.shape.back() % dtype_info(wanted).block_elements == 0 ? wanted : Dtype::f16;
}

// Finds every planned tensor in the checkpoint, and says what is not used.
std::vector<Work> match_tensors(const std::string& origin, const HfConfig& config,
                                const Safetensors& checkpoint, Dtype type,
                                std::vector<std::string>& warnings) {
  std::vector<Work> matched;
  std::set<std::string_view> used;
  std::size_t fallbacks = 0;
  for (PlannedTensor& planned : plan_tensors(config)) {
    const SafetensorsTensor* source = checkpoint.find(planned.source);
    if (source == nullptr) {
      if (planned.optional) {
        continue;
      }
      throw FileError(concat(origin, ": tensor ", quote(planned.source), " is missing"));
    }
    if (source->shape != planned.shape) {
      throw FileError(concat(origin, ": tensor ", quote(planned.source), " has shape ",
                             shape_text(source->shape), "; config.json asks for ",
                             shape_text(planned.shape)));
    }
    if (!is_float(source->type)) {
      throw FileError(concat(origin, ": tensor ", quote(planned.source), " is ",
                             safetensors_type_name(source->type),
                             "; F32, F16, BF16 or F64 was expected"));
    }
    used.insert(source->name);
    const Dtype dtype = stored_type(planned, type);
    fallbacks += planned.shape.size() == 2 && !planned.always_f32 && dtype != type ? 1 : 0;
    matched.push_back({std::move(planned), source, dtype});
  }
  if (fallbacks > 0) {
    warnings.push_back(concat(fallbacks, " tensors are stored as f16: their rows are not whole ",
                              dtype_name(type), " blocks of ", dtype_info(type).block_elements));
  }
  std::size_t unused = 0;
  std::string first;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (!used.contains(name) && unused++ == 0) {
      first = name;
    }
  }
  if (unused > 0) {
    warnings.push_back(
        concat(origin, ": ", unused, " tensors are not used, ", quote(first), " for one"));
  }
  return matched;
}

// The row of the checkpoint that becomes row `row` (see PlannedTensor::interleaved_heads).
std::int64_t source_row(const PlannedTensor& planned, std::int64_t row) {
  if (planned.interleaved_heads == 0) {
    return row;
  }
  const std::int64_t head_dim = planned.shape[0] / planned.interleaved_heads;
  const std::int64_t in_head = row % head_dim;
  return row - in_head + (in_head % 2) * (head_dim / 2) + in_head / 2;
}

void check_values(const std::string& origin, const Work& work, std::span<const float> values) {
  const float limit = largest_storable(work.dtype);
  for (const float value : values) {
    // Written so that NaN fails it too.
    if (!(std::fabs(value) <= limit)) {
      throw FileError(concat(origin, ": tensor ", quote(work.planned.source), " holds ", value,
                             std::isfinite(value)
                                 ? concat(", which ", dtype_name(work.dtype), " cannot hold")
                                 : std::string("; finite values were expected")));
    }
  }
}

class Streamer {
 public:
  Streamer(const ConvertOptions& options, GgufWriter& writer)
      : options_(options), writer_(writer), total_(writer.data_bytes()) {}

  void stream(const Work& work) {
    const std::int64_t rows = work.planned.shape[0];
    const std::int64_t columns = work.planned.shape.size() > 1 ? work.planned.shape[1] : 1;
    const std::int64_t rows_at_once = std::max<std::int64_t>(1, kSliceValues / columns);
    for (std::int64_t row = 0; row < rows; row += rows_at_once) {
      const std::int64_t count = std::min(rows_at_once, rows - row);
      values_.resize(static_cast<std::size_t>(count * columns));
      if (work.planned.interleaved_heads == 0) {
        read_floats(*work.source, row * columns, values_);
      } else {
        for (std::int64_t i = 0; i < count; ++i) {
          read_floats(*work.source, source_row(work.planned, row + i) * columns,
                      std::span(values_).subspan(static_cast<std::size_t>(i * columns),
                                                 static_cast<std::size_t>(columns)));
        }
      }
      check_values(options_.source.string(), work, values_);
      encoded_.resize(dtype_bytes(work.dtype, count * columns));
      quantize_row(work.dtype, values_, encoded_);
      writer_.write(encoded_);
      done_ += encoded_.size();
      if (options_.progress) {
        options_.progress(done_, total_, work.planned.target);
      }
    }
  }

 private:
  const ConvertOptions& options_;
  GgufWriter& writer_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  std::vector<float> values_;
  std::vector<std::byte> encoded_;
};

void refuse_input_as_target(const ConvertOptions& options,
                            std::span<const std::filesystem::path> inputs) {
  if (!std::filesystem::exists(options.target)) {
    return;
  }
  for (const std::filesystem::path& input : inputs) {
    if (std::filesystem::exists(input) && std::filesystem::equivalent(options.target, input)) {
      throw FileError(
          concat(options.target.string(), ": is an input; the output must be another file"));
    }
  }
}

}  // namespace

ConvertResult convert_checkpoint(const ConvertOptions& options) {
  const std::string origin = options.source.string();
  if (!std::filesystem::is_directory(options.source)) {
    throw FileError(
        concat(origin, ": is not a folder; one with config.json and safetensors was expected"));
  }
  switch (options.type) {
    case Dtype::f32:
    case Dtype::f16:
    case Dtype::bf16:
    case Dtype::q8_0:
      break;
    default:
      throw Error(concat("type ", dtype_name(options.type),
                         " cannot be written; f32, f16, bf16, q8_0 can"));
  }
  ConvertResult result;
  const HfConfig config = HfConfig::read(options.source);
  const Safetensors checkpoint = Safetensors::open_folder(options.source);
  const std::vector<Work> tensors =
      match_tensors(origin, config, checkpoint, options.type, result.warnings);
  // After the tensors: the embedding's size is then proven, and with it the vocabulary's.
  const auto tokenizer = HfTokenizer::read(options.source, config);
  if (tokenizer) {
    result.warnings.insert(result.warnings.end(), tokenizer->warnings.begin(),
                           tokenizer->warnings.end());
  } else {
    result.warnings.push_back(
        concat(origin, ": has no tokenizer.json; the file will take token ids only"));
  }

  std::vector<std::filesystem::path> inputs(checkpoint.files().begin(), checkpoint.files().end());
  inputs.push_back(options.source / "config.json");
  inputs.push_back(options.source / "generation_config.json");
  if (tokenizer) {
    inputs.insert(inputs.end(), tokenizer->files.begin(), tokenizer->files.end());
  }
  refuse_input_as_target(options, inputs);

  GgufWriter writer(options.target);
  const auto folder = std::filesystem::weakly_canonical(options.source);
  write_model_metadata(writer, config, folder.filename().string(), options.type);
  write_tokenizer_metadata(writer, tokenizer ? &tokenizer->data : nullptr);
  for (const Work& work : tensors) {
    writer.add_tensor(work.planned.target, work.dtype, work.planned.shape);
  }
  Streamer streamer(options, writer);
  for (const Work& work : tensors) {
    streamer.stream(work);
  }
  writer.finish();
  result.architecture = gguf_architecture(config);
  result.tensors = tensors.size();
  result.file_bytes = writer.file_bytes();
  return result;
}

}  // namespace l2a
