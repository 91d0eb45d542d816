// Byte-level BPE, as in the tokenizers of Qwen and SmolLM, from a GGUF file's metadata.
// Splitting into words is pretokenizer.h's; this file merges, and turns ids back into text.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace l2a {

class GgufFile;

using Token = std::int32_t;

// What a tokenizer is made of; the fields of `tokenizer.ggml.*`.
struct TokenizerData {
  enum class Kind : std::uint8_t {
    normal = 1,
    unknown = 2,
    control = 3,
    user_defined = 4,
    unused = 5,
    byte = 6
  };

  std::vector<std::string> tokens;  // byte-level form; special tokens verbatim
  std::vector<Kind> kinds;          // of the same length
  std::vector<std::string> merges;  // "left right", best first
  std::string pre;                  // "qwen2" or "smollm"
  std::optional<Token> bos, eos, eot, unknown, padding;
  bool add_bos = false;
  std::string chat_template;  // Jinja source as found, may be empty

  static bool present(const GgufFile& file);
  // Throws FileError when the file's tokenizer is absent ("no_vocab"), of a kind not supported here, or
  // inconsistent.
  static TokenizerData from_gguf(const GgufFile& file);
};

class Tokenizer {
 public:
  explicit Tokenizer(TokenizerData data);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  const TokenizerData& data() const;
  std::int64_t vocabulary_size() const;

  // Token ids of UTF-8 text. Special tokens in the text ("<|im_start|>") become their ids when
  // `parse_special` is set, and are encoded as ordinary text otherwise. Throws Error on invalid UTF-8,
  // naming the byte offset. No BOS is added.
  std::vector<Token> encode(std::string_view text, bool parse_special = true) const;

  // The bytes of the tokens, joined. Throws Error on an id outside the vocabulary. With `skip_special`,
  // control tokens leave no text.
  std::string decode(std::span<const Token> tokens, bool skip_special = false) const;

  std::optional<Token> find(std::string_view token_text) const;
  // True for EOS, EOT ("<|im_end|>") and whatever else ends a turn.
  bool ends_generation(Token token) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Decodes token by token for a terminal: holds back the bytes of a character until it is complete, so that
// a stream never shows half of one. Bytes that can never become UTF-8 come out as U+FFFD.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}
  std::string push(Token token);  // text that is now complete, perhaps none
  std::string finish();           // what was held back

 private:
  const Tokenizer& tokenizer_;
  std::string held_;
};

}  // namespace l2a
