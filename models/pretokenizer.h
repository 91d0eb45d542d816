// Splits text into the words that byte-pair merges may not cross, exactly as the tokenizers of
// Hugging Face do for the same `tokenizer.ggml.pre`.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

namespace l2a {

class PreTokenizer {
 public:
  // "qwen2" (and "deepseek-r1-qwen", which splits alike) or "smollm". Throws Error on another name.
  explicit PreTokenizer(std::string_view pre);
  ~PreTokenizer();
  PreTokenizer(PreTokenizer&&) noexcept;
  PreTokenizer& operator=(PreTokenizer&&) noexcept;

  static bool is_known(std::string_view pre);

  // Whether text is to be normalized to NFC before it is split.
  bool wants_nfc() const;

  // Appends the words of `text`, which must be valid UTF-8, in order: joined they are the text.
  // Views into `text`. Safe to call from several threads. Takes time linear in the text.
  void split(std::string_view text, std::vector<std::string_view>& words) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace l2a
