// A model's configuration as Hugging Face has it: the way back from hf_config.
#pragma once

#include <nlohmann/json.hpp>
#include <string_view>

#include "convert/hf_config.h"
#include "models/tokenizer.h"

namespace l2a {

// config.json: what HfConfig reads, and what the classes of Hugging Face want beside it. `torch_dtype`: "bfloat16".
// Numbers that files hold as f32 are written as the shortest decimals that give them back.
nlohmann::ordered_json hf_config_json(const HfConfig& config, std::string_view torch_dtype);

// generation_config.json: the tokens that begin and end a text. Null when none is known.
nlohmann::ordered_json hf_generation_json(const TokenizerData& tokenizer);

}  // namespace l2a
