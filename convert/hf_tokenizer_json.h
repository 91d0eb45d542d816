// A tokenizer as Hugging Face has it: the way back from hf_tokenizer.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "models/tokenizer.h"

namespace l2a {

// tokenizer.json, which the `tokenizers` library runs by itself. `origin` names the source in messages. Throws
// FileError when two tokens are the same text or a merge is no pair.
nlohmann::json hf_tokenizer_json(const TokenizerData& tokenizer, const std::string& origin);

// tokenizer_config.json: special tokens and the chat template.
nlohmann::json hf_tokenizer_config_json(const TokenizerData& tokenizer, std::int64_t context);

}  // namespace l2a
