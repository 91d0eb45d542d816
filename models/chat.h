// Chat messages to a prompt, for the models that speak ChatML (Qwen2.5, Qwen3, SmolLM2): what their
// Jinja templates would print, without Jinja.
//
// The frame is the same in all of them. What differs is read off the template's text: the default
// system prompt, and whether there are tools and thinking.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/tokenizer.h"

namespace l2a {

struct ToolCall {
  std::string name;
  nlohmann::ordered_json arguments;  // an object, or a string that already is JSON text
};

struct ChatMessage {
  std::string role;  // "system", "user", "assistant" or "tool"
  std::string content;
  std::optional<std::string>
      reasoning;  // when absent, looked for in the content (<think>...</think>)
  std::vector<ToolCall> tool_calls;

  // From the form that the chat APIs use: {"role", "content", "reasoning_content", "tool_calls"},
  // where the content is a string, null, or a list of text parts. Throws Error naming the field
  // that is wrong.
  static ChatMessage from_json(const nlohmann::ordered_json& json);
};

struct ChatOptions {
  std::vector<nlohmann::ordered_json> tools;
  std::optional<bool> enable_thinking;  // no effect on a model that has no such switch
  bool add_generation_prompt = true;
};

// A run of the prompt. Trusted text is the frame's, and special tokens in it are meant; the rest
// comes from messages and tools, and "<|im_end|>" in it is only text.
struct ChatSegment {
  std::string text;
  bool trusted;
};

class ChatFormat {
 public:
  // Throws Error when the template is absent or is not ChatML.
  static ChatFormat from_template(std::string_view jinja);

  // Throw Error when there is no message, a role is unknown, or there are tools and the model has
  // none.
  std::vector<ChatSegment> segments(std::span<const ChatMessage> messages,
                                    const ChatOptions& options = {}) const;
  std::string prompt(std::span<const ChatMessage> messages, const ChatOptions& options = {}) const;

  const std::string& default_system() const { return default_system_; }
  bool has_tools() const { return has_tools_; }
  bool has_thinking_switch() const { return has_thinking_switch_; }

 private:
  std::string default_system_;  // empty: a conversation without a system message has none
  bool has_tools_ = false;
  bool has_thinking_switch_ = false;  // `enable_thinking`
  bool always_thinks_ = false;        // the prompt for an answer already opens <think>
  bool rewrites_reasoning_ =
      false;  // earlier thoughts are left out, those since the last query shown
};

// The tokens of the prompt. They are those of tokenizer.encode(format.prompt(...)), except that
// control tokens can only come from the frame: no content can forge the end of a turn.
std::vector<Token> encode_chat(const Tokenizer& tokenizer, const ChatFormat& format,
                               std::span<const ChatMessage> messages,
                               const ChatOptions& options = {});

}  // namespace l2a
