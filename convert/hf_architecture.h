// The architectures of Hugging Face checkpoints that are known here, and their names in GGUF.
#pragma once

#include <array>
#include <string_view>

#include "models/model_config.h"

namespace l2a {

struct HfArchitecture {
  const char* name;        // of the class, in "architectures"
  const char* model_type;  // of the configuration
  const char* gguf;
  Family family;
  bool l2a;
};

inline constexpr std::array<HfArchitecture, 6> kHfArchitectures = {{
    {"Qwen2ForCausalLM", "qwen2", "qwen2", Family::qwen2, false},
    {"Qwen3ForCausalLM", "qwen3", "qwen3", Family::qwen3, false},
    {"LlamaForCausalLM", "llama", "llama", Family::llama, false},
    {"L2AQwen2ForCausalLM", "l2a_qwen2", "l2a-qwen2", Family::qwen2, true},
    {"L2AQwen3ForCausalLM", "l2a_qwen3", "l2a-qwen3", Family::qwen3, true},
    {"L2ALlamaForCausalLM", "l2a_llama", "l2a-llama", Family::llama, true},
}};

}  // namespace l2a
