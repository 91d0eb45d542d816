// What a model predicted over a text, saved so that another model can be compared with it (KL divergence).
//
// A .safetensors file, so that numpy and PyTorch read it too. Of C chunks of N tokens, the last S positions but one are
// scored, N - S - 1 to N - 2, each with a prediction of the token that follows it:
//   tokens       I32 [C, N]     what was evaluated: another text, tokenizer or context is noticed by it
//   log_probs    F16 [C, S, V]  natural logarithms of the probabilities
//   next         F32 [C, S]     that of the token that followed, not rounded
//   most_likely  I32 [C, S]     the token with the largest
// F16 keeps a log probability to 2^-11 of itself; readers normalize again, so what is left of the rounding in
// the divergence is of second order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "convert/safetensors.h"
#include "convert/safetensors_writer.h"
#include "models/tokenizer.h"

namespace l2a {

class SavedLogitsWriter {
 public:
  // `tokens` [chunks, context], scored from position `from` of each chunk. Opens a temporary file beside `target`.
  SavedLogitsWriter(const std::filesystem::path& target, std::span<const Token> tokens,
                    std::int64_t context, std::int64_t from, std::int64_t vocabulary);

  // The next positions: log_probs f16 [positions, V], and the others [positions].
  void add(std::span<const std::byte> log_probs, std::span<const float> next,
           std::span<const Token> most_likely);
  void finish();

 private:
  SafetensorsWriter writer_;
  std::vector<float> next_;
  std::vector<Token> most_likely_;
};

class SavedLogits {
 public:
  // Throws FileError unless it has the tensors above in shapes that agree.
  static SavedLogits open(const std::filesystem::path& path);

  std::int64_t chunks() const { return chunks_; }
  std::int64_t context() const { return context_; }
  std::int64_t scored() const { return scored_; }               // S
  std::int64_t from() const { return context_ - scored_ - 1; }  // first position that is scored
  std::int64_t vocabulary() const { return vocabulary_; }
  std::vector<Token> tokens() const;  // [chunks, context]

  // Of a position, counted through all chunks. Numbers are as the file has them, not checked.
  std::span<const std::byte> log_probs(std::int64_t position) const;  // f16 [V], not aligned
  float next(std::int64_t position) const;
  Token most_likely(std::int64_t position) const;

 private:
  SavedLogits() = default;

  std::optional<Safetensors> file_;
  const SafetensorsTensor* tokens_ = nullptr;
  const SafetensorsTensor* log_probs_ = nullptr;
  const SafetensorsTensor* next_ = nullptr;
  const SafetensorsTensor* most_likely_ = nullptr;
  std::int64_t chunks_ = 0, context_ = 0, scored_ = 0, vocabulary_ = 0;
};

}  // namespace l2a
