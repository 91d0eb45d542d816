#include "models/chat.h"

#include <algorithm>
#include <array>

#include "graph/error.h"
#include "models/json_text.h"
#include "models/quote.h"

namespace l2a {
namespace {

constexpr std::string_view kStart = "<|im_start|>", kEnd = "<|im_end|>";
constexpr std::array<std::string_view, 4> kRoles = {"system", "user", "assistant", "tool"};
// Every special token that the frame is made of.
constexpr std::array<std::string_view, 8> kMarkers = {
    kStart,        kEnd,           "<think>",         "</think>",
    "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"};

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

std::string_view strip_left(std::string_view text) {
  return text.substr(std::min(text.find_first_not_of('\n'), text.size()));
}
std::string_view strip_right(std::string_view text) {
  return text.substr(0, text.find_last_not_of('\n') + 1);
}
std::string_view before_first(std::string_view text, std::string_view mark) {
  return text.substr(0, text.find(mark));
}
std::string_view after_last(std::string_view text, std::string_view mark) {
  const std::size_t at = text.rfind(mark);
  return at == std::string_view::npos ? text : text.substr(at + mark.size());
}

// A template's string literals may hold a line break as such or as an escape.
std::string unescape_line_breaks(std::string_view text) {
  constexpr std::string_view kEscape = "\\n";
  std::string out;
  while (contains(text, kEscape)) {
    const std::string_view line = before_first(text, kEscape);
    out.append(line).push_back('\n');
    text.remove_prefix(line.size() + kEscape.size());
  }
  return out.append(text);
}

// The system prompt that the template writes as a literal, as opposed to quoting a message's
// content.
std::string find_default_system(std::string_view text) {
  const std::string opening = concat(kStart, "system\n");
  for (std::size_t at = 0; (at = text.find(opening, at)) != std::string_view::npos;) {
    at += opening.size();
    const std::string_view body = before_first(text.substr(at), kEnd);
    if (!body.empty() && body.find_first_of("'\"{}") == std::string_view::npos) {
      return std::string(body);
    }
  }
  return {};
}

struct Answer {
  std::string_view reasoning, content;
};

Answer split_reasoning(const ChatMessage& message) {
  const std::string_view text = message.content;
  if (message.reasoning) return {*message.reasoning, text};
  if (!contains(text, "</think>")) return {{}, text};
  const std::string_view thought = strip_right(before_first(text, "</think>"));
  return {strip_left(after_last(thought, "<think>")), strip_left(after_last(text, "</think>"))};
}

bool is_tool_response(std::string_view content) {
  constexpr std::string_view kOpen = "<tool_response>", kClose = "</tool_response>";
  return content.substr(0, kOpen.size()) == kOpen && content.size() >= kClose.size() &&
         content.substr(content.size() - kClose.size()) == kClose;
}

// The last question that a person asked: what follows is one chain of tool calls, whose thoughts
// stay.
std::size_t find_last_query(std::span<const ChatMessage> messages) {
  for (std::size_t i = messages.size(); i-- > 0;) {
    if (messages[i].role == "user" && !is_tool_response(messages[i].content)) return i;
  }
  return messages.size() - 1;
}

class Writer {
 public:
  void frame(std::string_view text) { add(text, true); }
  void content(std::string_view text) { add(text, false); }

  void open_turn(std::string_view role) { frame(concat(kStart, role, "\n")); }
  void close_turn() { frame(concat(kEnd, "\n")); }

  void tools_block(const std::vector<nlohmann::ordered_json>& tools) {
    frame(
        "# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n<tools>");
    for (const auto& tool : tools) {
      frame("\n");
      content(python_json(tool));
    }
    frame(
        "\n</tools>\n\nFor each function call, return a json object with function name and "
        "arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": "
        "<function-name>, \"arguments\": <args-json-object>}\n</tool_call>");
  }

  void tool_call(const ToolCall& call) {
    frame("<tool_call>\n{\"name\": \"");
    content(call.name);
    frame("\", \"arguments\": ");
    content(call.arguments.is_string() ? call.arguments.get_ref<const std::string&>()
                                       : python_json(call.arguments));
    frame("}\n</tool_call>");
  }

  std::vector<ChatSegment> take() { return std::move(segments_); }

 private:
  void add(std::string_view text, bool trusted) {
    if (text.empty()) return;
    if (segments_.empty() || segments_.back().trusted != trusted) {
      segments_.push_back({{}, trusted});
    }
    segments_.back().text += text;
  }

  std::vector<ChatSegment> segments_;
};

void check_messages(std::span<const ChatMessage> messages) {
  if (messages.empty()) throw Error("a chat needs at least one message");
  for (const ChatMessage& message : messages) {
    if (std::find(kRoles.begin(), kRoles.end(), message.role) == kRoles.end()) {
      throw Error(concat("chat role ", quote(message.role),
                         " is not one of system, user, assistant and tool"));
    }
  }
}

void write_tool_result(Writer& out, std::span<const ChatMessage> messages, std::size_t i) {
  if (i == 0 || messages[i - 1].role != "tool") out.frame(concat(kStart, "user"));
  out.frame("\n<tool_response>\n");
  out.content(messages[i].content);
  out.frame("\n</tool_response>");
  if (i + 1 == messages.size() || messages[i + 1].role != "tool") out.close_turn();
}

bool is_special(const Tokenizer& tokenizer, std::string_view marker) {
  const auto token = tokenizer.find(marker);
  if (!token) return false;
  const auto kind = tokenizer.data().kinds[static_cast<std::size_t>(*token)];
  return kind == TokenizerData::Kind::control || kind == TokenizerData::Kind::user_defined;
}

}  // namespace

ChatFormat ChatFormat::from_template(std::string_view jinja) {
  if (jinja.empty()) throw Error("the model has no chat template; give a plain prompt instead");
  if (!contains(jinja, kStart)) {
    throw Error(
        "the model's chat template is not ChatML (it has no <|im_start|>), which is the only "
        "format supported; give a plain prompt instead");
  }
  const std::string text = unescape_line_breaks(jinja);
  ChatFormat format;
  format.default_system_ = find_default_system(text);
  format.has_tools_ = contains(text, "<tool_call>");
  format.has_thinking_switch_ = contains(text, "enable_thinking");
  format.always_thinks_ = contains(text, concat(kStart, "assistant\n<think>\n"));
  format.rewrites_reasoning_ = contains(text, "last_query_index");
  return format;
}

std::vector<ChatSegment> ChatFormat::segments(std::span<const ChatMessage> messages,
                                              const ChatOptions& options) const {
  check_messages(messages);
  if (!options.tools.empty() && !has_tools_) {
    throw Error("the model's chat template has no place for tools");
  }
  Writer out;
  const bool has_system = messages.front().role == "system";
  const std::string_view system = has_system ? messages.front().content : default_system_;
  if (!options.tools.empty()) {
    out.open_turn("system");
    out.content(system);
    if (has_system || !system.empty()) out.frame("\n\n");
    out.tools_block(options.tools);
    out.close_turn();
  } else if (has_system || !system.empty()) {
    out.open_turn("system");
    out.content(system);
    out.close_turn();
  }

  const std::size_t last_query = find_last_query(messages);
  for (std::size_t i = has_system ? 1 : 0; i < messages.size(); ++i) {
    const ChatMessage& message = messages[i];
    if (message.role == "tool" && has_tools_) {
      write_tool_result(out, messages, i);
      continue;
    }
    out.open_turn(message.role);
    std::string_view content = message.content;
    // Asked before line breaks are stripped from the content, as the template does.
    bool breaks_line = !content.empty();
    if (message.role == "assistant" && rewrites_reasoning_) {
      const Answer answer = split_reasoning(message);
      content = answer.content;
      breaks_line = !content.empty();
      const bool is_last = i + 1 == messages.size();
      if (i > last_query && (is_last || !answer.reasoning.empty())) {
        out.frame("<think>\n");
        out.content(strip_left(strip_right(answer.reasoning)));
        out.frame("\n</think>\n\n");
        content = strip_left(content);
      }
    }
    out.content(content);
    for (const ToolCall& call : message.tool_calls) {
      if (breaks_line) out.frame("\n");
      out.tool_call(call);
      breaks_line = true;
    }
    out.close_turn();
  }

  if (options.add_generation_prompt) {
    out.open_turn("assistant");
    if (has_thinking_switch_ && options.enable_thinking == false) {
      out.frame("<think>\n\n</think>\n\n");
    } else if (always_thinks_) {
      out.frame("<think>\n");
    }
  }
  return out.take();
}

std::string ChatFormat::prompt(std::span<const ChatMessage> messages,
                               const ChatOptions& options) const {
  std::string out;
  for (const ChatSegment& segment : segments(messages, options)) out += segment.text;
  return out;
}

std::vector<Token> encode_chat(const Tokenizer& tokenizer, const ChatFormat& format,
                               std::span<const ChatMessage> messages, const ChatOptions& options) {
  std::vector<Token> out;
  std::string plain;  // text since the last marker; words may span frame and content
  const auto flush = [&] {
    const auto tokens = tokenizer.encode(plain, /*parse_special=*/false);
    out.insert(out.end(), tokens.begin(), tokens.end());
    plain.clear();
  };
  for (const ChatSegment& segment : format.segments(messages, options)) {
    if (!segment.trusted) {
      plain += segment.text;
      continue;
    }
    std::string_view rest = segment.text;
    while (!rest.empty()) {
      const auto starts_rest = [&](std::string_view marker) {
        return rest.substr(0, marker.size()) == marker && is_special(tokenizer, marker);
      };
      const auto marker = std::find_if(kMarkers.begin(), kMarkers.end(), starts_rest);
      if (marker == kMarkers.end()) {
        plain += rest.front();
        rest.remove_prefix(1);
      } else {
        flush();
        out.push_back(*tokenizer.find(*marker));
        rest.remove_prefix(marker->size());
      }
    }
  }
  flush();
  return out;
}

}  // namespace l2a
