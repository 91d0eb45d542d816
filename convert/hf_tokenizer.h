// A Hugging Face tokenizer (tokenizer.json and tokenizer_config.json) as GGUF's tokenizer fields.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "convert/hf_config.h"
#include "models/tokenizer.h"

namespace l2a {

// The expression of the Qwen2 and Qwen3 tokenizers, by which they are recognised.
inline constexpr std::string_view kHfQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

struct HfTokenizer {
  TokenizerData data;
  std::vector<std::string> warnings;         // one line each
  std::vector<std::filesystem::path> files;  // that were read

  // Nothing when the folder has no tokenizer.json. Throws FileError for a tokenizer that is
  // malformed, does not fit `config.vocab_size`, or is not one of the two supported: byte-level BPE
  // with Qwen2's or SmolLM's way of splitting text. Ids without a token become `[PAD{id}]`, unused.
  static std::optional<HfTokenizer> read(const std::filesystem::path& folder,
                                         const HfConfig& config);
};

}  // namespace l2a
