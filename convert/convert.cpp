#include "convert/convert.h"

#include "convert/gguf_writer.h"
#include "convert/tensor_stream.h"
#include "graph/error.h"
#include "models/quote.h"

namespace l2a {
namespace {

std::span<const float> importance_of(const WriteOptions& options, const SourceTensor& tensor) {
  if (options.importance == nullptr || tensor.shape.size() < 2) return {};
  const auto found = options.importance->find(tensor.name);
  if (found == options.importance->end()) return {};
  return found->second;
}

// Their scales are searched for, and importance guides the search; q8_0 rounds.
bool uses_importance(Dtype dtype) { return dtype_info(dtype).quantized && dtype != Dtype::q8_0; }

// Throws FileError for importance of another model. The warning is empty when every matrix has its own.
std::string check_importance(const Checkpoint& checkpoint, std::span<const Dtype> types,
                             const Importance& importance) {
  std::size_t wanted = 0, missing = 0;
  std::string first_missing;
  for (std::size_t i = 0; i < types.size(); ++i) {
    const SourceTensor& tensor = checkpoint.tensors[i];
    const auto found = importance.find(tensor.name);
    if (found != importance.end() &&
        static_cast<std::int64_t>(found->second.size()) != tensor.row_length()) {
      throw FileError(concat("the imatrix is of another model: its ", quote(tensor.name), " has ",
                             found->second.size(), " columns; ", tensor.row_length(),
                             " were expected"));
    }
    // Rows of an embedding that makes no logits are looked up: nothing is multiplied with them.
    const bool only_looked_up = tensor.name == "token_embd.weight" && !checkpoint.tied_embeddings;
    if (!uses_importance(types[i]) || only_looked_up) continue;
    ++wanted;
    if (found == importance.end() && missing++ == 0) first_missing = tensor.name;
  }
  if (wanted == 0) return "the imatrix changes nothing: no tensor gets a type that uses it";
  if (missing == 0) return {};
  if (missing == wanted) {
    throw FileError(concat("the imatrix is of another model: it has none of the ", wanted,
                           " matrices to quantize, ", quote(first_missing), " the first"));
  }
  return concat(missing, " of ", wanted, " quantized matrices are not in the imatrix, ",
                quote(first_missing), " the first; their columns count alike");
}

Dtype target_dtype(const SourceTensor& tensor, const Recipe* recipe, const RecipeModel& model) {
  if (recipe == nullptr) return tensor.stored;
  return tensor.always_f32 ? Dtype::f32 : recipe_dtype(*recipe, model, tensor.name, tensor.shape);
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
  if (options.recipe != nullptr) metadata.set_u32("general.file_type", options.recipe->file_type);
  GgufWriter writer(options.target, std::move(metadata));
  std::vector<Dtype> types;
  std::size_t fallbacks = 0;
  for (const SourceTensor& tensor : checkpoint.tensors) {
    types.push_back(target_dtype(tensor, options.recipe, model));
    const bool wanted_blocks =
        options.recipe != nullptr && dtype_info(options.recipe->matrices).quantized;
    fallbacks += wanted_blocks && !tensor.always_f32 && types.back() == Dtype::f16 ? 1 : 0;
    writer.add_tensor(tensor.name, types.back(), tensor.shape);
  }
  if (fallbacks > 0) {
    result.warnings.push_back(
        concat(fallbacks, " tensors are stored as f16: their rows are not whole blocks of ",
               "a quantized type"));
  }
  if (options.importance != nullptr) {
    std::string warning = check_importance(checkpoint, types, *options.importance);
    if (!warning.empty()) result.warnings.push_back(std::move(warning));
  }
  TensorStream stream(checkpoint.origin, options, writer.data_bytes());
  for (std::size_t i = 0; i < types.size(); ++i) {
    const SourceTensor& tensor = checkpoint.tensors[i];
    stream.run(tensor, types[i], importance_of(options, tensor),
               [&](std::span<const std::byte> bytes) { writer.write(bytes); });
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
