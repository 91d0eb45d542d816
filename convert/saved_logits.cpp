#include "convert/saved_logits.h"

#include <cstring>

#include "graph/error.h"
#include "models/quote.h"

namespace l2a {
namespace {

using Type = SafetensorsType;

const SafetensorsTensor& get(const Safetensors& file, const std::string& path,
                             const std::string& name, Type type, std::size_t rank) {
  const SafetensorsTensor* tensor = file.find(name);
  if (tensor == nullptr || tensor->type != type || tensor->shape.size() != rank) {
    throw FileError(concat(path, ": is not a file of saved logits: ",
                           tensor == nullptr ? "it has no tensor " : "another type or rank than ",
                           quote(name), " ", safetensors_type_name(type), " of rank ", rank));
  }
  return *tensor;
}

// Data in the file need not be aligned.
template <class T>
T element(const SafetensorsTensor& tensor, std::int64_t index) {
  T value;
  std::memcpy(&value, tensor.data.data() + static_cast<std::size_t>(index) * sizeof value,
              sizeof value);
  return value;
}

}  // namespace

SavedLogitsWriter::SavedLogitsWriter(const std::filesystem::path& target,
                                     std::span<const Token> tokens, std::int64_t context,
                                     std::int64_t from, std::int64_t vocabulary)
    : writer_(target) {
  const std::int64_t chunks = static_cast<std::int64_t>(tokens.size()) / context;
  const std::int64_t scored = context - from - 1;
  writer_.add_tensor("tokens", Type::i32, std::vector{chunks, context});
  writer_.add_tensor("log_probs", Type::f16, std::vector{chunks, scored, vocabulary});
  writer_.add_tensor("next", Type::f32, std::vector{chunks, scored});
  writer_.add_tensor("most_likely", Type::i32, std::vector{chunks, scored});
  writer_.write_values(tokens);
}

void SavedLogitsWriter::add(std::span<const std::byte> log_probs, std::span<const float> next,
                            std::span<const Token> most_likely) {
  writer_.write(log_probs);
  next_.insert(next_.end(), next.begin(), next.end());
  most_likely_.insert(most_likely_.end(), most_likely.begin(), most_likely.end());
}

void SavedLogitsWriter::finish() {
  writer_.write_values(std::span<const float>(next_));
  writer_.write_values(std::span<const Token>(most_likely_));
  writer_.finish();
}

SavedLogits SavedLogits::open(const std::filesystem::path& path) {
  SavedLogits saved;
  saved.file_ = Safetensors::open_file(path);
  const std::string name = path.string();
  saved.tokens_ = &get(*saved.file_, name, "tokens", Type::i32, 2);
  saved.log_probs_ = &get(*saved.file_, name, "log_probs", Type::f16, 3);
  saved.next_ = &get(*saved.file_, name, "next", Type::f32, 2);
  saved.most_likely_ = &get(*saved.file_, name, "most_likely", Type::i32, 2);
  saved.chunks_ = saved.tokens_->shape[0];
  saved.context_ = saved.tokens_->shape[1];
  saved.vocabulary_ = saved.log_probs_->shape[2];
  saved.scored_ = saved.log_probs_->shape[1];
  const std::vector<std::int64_t> positions{saved.chunks_, saved.scored_};
  const std::vector<std::int64_t> rows{positions[0], positions[1], saved.vocabulary_};
  if (saved.chunks_ < 1 || saved.scored_ < 1 || saved.scored_ >= saved.context_ ||
      saved.vocabulary_ < 1 || saved.log_probs_->shape != rows || saved.next_->shape != positions ||
      saved.most_likely_->shape != positions) {
    throw FileError(concat(name, ": is not a file of saved logits: for tokens ",
                           shape_text(saved.tokens_->shape), " the shape of 'log_probs' is ",
                           shape_text(saved.log_probs_->shape), ", of 'next' ",
                           shape_text(saved.next_->shape), ", of 'most_likely' ",
                           shape_text(saved.most_likely_->shape)));
  }
  return saved;
}

std::vector<Token> SavedLogits::tokens() const {
  std::vector<Token> tokens(static_cast<std::size_t>(chunks_ * context_));
  std::memcpy(tokens.data(), tokens_->data.data(), tokens.size() * sizeof(Token));
  return tokens;
}

std::span<const std::byte> SavedLogits::log_probs(std::int64_t position) const {
  const auto bytes = static_cast<std::size_t>(vocabulary_) * safetensors_type_bytes(Type::f16);
  return log_probs_->data.subspan(static_cast<std::size_t>(position) * bytes, bytes);
}

float SavedLogits::next(std::int64_t position) const { return element<float>(*next_, position); }

Token SavedLogits::most_likely(std::int64_t position) const {
  return element<Token>(*most_likely_, position);
}

}  // namespace l2a
