#include "convert/convert.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>

#include "convert/encode/encode.h"
#include "convert/gguf_writer.h"
#include "graph/error.h"
#include "graph/thread_pool.h"
#include "models/mapped_file.h"
#include "models/quote.h"
#include "ops/quantize.h"

namespace l2a {
namespace {

// Values read, encoded and written at a time: enough for every core, little beside a model.
constexpr std::int64_t kSliceValues = std::int64_t{1} << 22;
constexpr std::int64_t kGrainValues = std::int64_t{1} << 15;  // of one thread's turn

class Streamer {
 public:
  Streamer(const Checkpoint& checkpoint, const WriteOptions& options, GgufWriter& writer)
      : checkpoint_(checkpoint),
        options_(options),
        writer_(writer),
        total_(writer.data_bytes()),
        pool_(options.threads > 0 ? options.threads : default_thread_count()) {}

  void stream(const SourceTensor& tensor, Dtype dtype) {
    if (!tensor.bytes.empty() && tensor.stored == dtype) {
      copy(tensor);
    } else {
      encode(tensor, dtype);
    }
    MappedFile::release(tensor.mapped);
  }

 private:
  void put(const SourceTensor& tensor, std::span<const std::byte> bytes) {
    writer_.write(bytes);
    done_ += bytes.size();
    if (options_.progress) {
      options_.progress(done_, total_, tensor.name);
    }
  }

  void copy(const SourceTensor& tensor) {
    constexpr std::size_t kPiece = std::size_t{16} << 20;
    for (std::size_t at = 0; at < tensor.bytes.size(); at += kPiece) {
      put(tensor, tensor.bytes.subspan(at, std::min(kPiece, tensor.bytes.size() - at)));
    }
  }

  void encode(const SourceTensor& tensor, Dtype dtype) {
    const std::int64_t columns = tensor.row_length(), rows = tensor.rows();
    const std::int64_t rows_at_once = std::max<std::int64_t>(1, kSliceValues / columns);
    const std::span<const float> importance = importance_of(tensor);
    const std::size_t row_bytes = dtype_bytes(dtype, columns);
    for (std::int64_t first = 0; first < rows; first += rows_at_once) {
      const std::int64_t count = std::min(rows_at_once, rows - first);
      values_.resize(static_cast<std::size_t>(count * columns));
      encoded_.resize(static_cast<std::size_t>(count) * row_bytes);
      failure_ = nullptr;
      pool_.parallel_for(count, std::max<std::int64_t>(1, kGrainValues / columns),
                         [&](std::int64_t begin, std::int64_t end) {
                           const auto at = static_cast<std::size_t>(begin),
                                      size = static_cast<std::size_t>(end - begin);
                           const std::span<float> values =
                               std::span(values_).subspan(at * static_cast<std::size_t>(columns),
                                                          size * static_cast<std::size_t>(columns));
                           const std::span<std::byte> encoded =
                               std::span(encoded_).subspan(at * row_bytes, size * row_bytes);
                           // A loop's body may not throw: the first failure is kept for the caller.
                           try {
                             tensor.read(first + begin, values);
                             check(tensor, dtype, values);
                             if (dtype_info(dtype).quantized) {
                               encode_rows(dtype, values, columns, importance, encoded);
                             } else {
                               quantize_row(dtype, values, encoded);
                             }
                           } catch (...) {
                             const std::lock_guard lock(failure_mutex_);
                             if (!failure_) failure_ = std::current_exception();
                           }
                         });
      if (failure_) std::rethrow_exception(failure_);
      put(tensor, encoded_);
    }
  }

  void check(const SourceTensor& tensor, Dtype dtype, std::span<const float> values) const {
    const bool plain = !dtype_info(dtype).quantized;
    const float limit = largest_storable(dtype);
    for (const float value : values) {
      // Written so that NaN fails it too.
      if (std::fabs(value) <= limit || (options_.allow_nan && plain && !std::isfinite(value)))
        continue;
      throw FileError(
          concat(checkpoint_.origin, ": tensor ", quote(tensor.origin), " holds ", value,
                 std::isfinite(value) ? concat(", which ", dtype_name(dtype), " cannot hold")
                                      : std::string("; finite values were expected")));
    }
  }

  std::span<const float> importance_of(const SourceTensor& tensor) const {
    if (options_.importance == nullptr || tensor.shape.size() < 2) return {};
    const auto found = options_.importance->find(tensor.name);
    if (found == options_.importance->end()) return {};
    if (static_cast<std::int64_t>(found->second.size()) != tensor.row_length()) {
      throw FileError(concat("the importance of tensor ", quote(tensor.name), " has ",
                             found->second.size(), " columns; ", tensor.row_length(),
                             " were expected"));
    }
    return found->second;
  }

  const Checkpoint& checkpoint_;
  const WriteOptions& options_;
  GgufWriter& writer_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  ThreadPool pool_;
  std::vector<float> values_;
  std::vector<std::byte> encoded_;
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

Dtype target_dtype(const SourceTensor& tensor, const Recipe& recipe, const RecipeModel& model) {
  return tensor.always_f32 ? Dtype::f32 : recipe_dtype(recipe, model, tensor.name, tensor.shape);
}

}  // namespace

void refuse_input_as_target(const Checkpoint& checkpoint, const std::filesystem::path& target) {
  if (!std::filesystem::exists(target)) {
    return;
  }
  for (const std::filesystem::path& input : checkpoint.inputs) {
    if (std::filesystem::exists(input) && std::filesystem::equivalent(target, input)) {
      throw FileError(concat(target.string(), ": is an input; the output must be another file"));
    }
  }
}

ConvertResult write_gguf(const Checkpoint& checkpoint, const WriteOptions& options) {
  refuse_input_as_target(checkpoint, options.target);
  const RecipeModel model =
      recipe_model(checkpoint.config, checkpoint.tied_embeddings, options.importance != nullptr);
  ConvertResult result;
  result.warnings = checkpoint.warnings;
  GgufMetadata metadata = checkpoint.metadata;
  metadata.set_u32("general.file_type", options.recipe->file_type);
  GgufWriter writer(options.target, std::move(metadata));
  std::vector<Dtype> types;
  std::size_t fallbacks = 0;
  for (const SourceTensor& tensor : checkpoint.tensors) {
    types.push_back(target_dtype(tensor, *options.recipe, model));
    const bool wanted_blocks = dtype_info(options.recipe->matrices).quantized;
    fallbacks += wanted_blocks && !tensor.always_f32 && types.back() == Dtype::f16 ? 1 : 0;
    writer.add_tensor(tensor.name, types.back(), tensor.shape);
  }
  if (fallbacks > 0) {
    result.warnings.push_back(
        concat(fallbacks, " tensors are stored as f16: their rows are not whole blocks of ",
               "a quantized type"));
  }
  Streamer streamer(checkpoint, options, writer);
  for (std::size_t i = 0; i < types.size(); ++i) {
    streamer.stream(checkpoint.tensors[i], types[i]);
  }
  writer.finish();
  result.architecture = checkpoint.config.architecture;
  result.tensors = types.size();
  result.file_bytes = writer.file_bytes();
  return result;
}

ConvertResult convert_checkpoint(const ConvertOptions& options) {
  WriteOptions write;
  write.target = options.target;
  write.recipe = find_recipe(dtype_name(options.type));
  if (write.recipe == nullptr) {
    throw Error(concat("there is no recipe named ", dtype_name(options.type), "; ", recipe_names(),
                       " are"));
  }
  return write_gguf(open_checkpoint(options.source), write);
}

}  // namespace l2a
