// ChatMessage from the JSON of chat APIs.
#include "graph/error.h"
#include "models/chat.h"

namespace l2a {
namespace {

using Json = nlohmann::ordered_json;

const Json* find_field(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string read_string(const Json& object, const char* key) {
  const Json* field = find_field(object, key);
  if (!field || !field->is_string()) {
    throw Error(concat("a chat message needs '", key, "' to be a string"));
  }
  return field->get<std::string>();
}

std::string read_content(const Json& message) {
  const Json* content = find_field(message, "content");
  if (!content) return {};
  if (content->is_string()) return content->get<std::string>();
  if (!content->is_array()) {
    throw Error("a chat message's 'content' is neither a string nor a list of parts");
  }
  std::string text;
  for (const Json& part : *content) {
    if (!part.is_object() || part.value("type", Json()) != "text") {
      throw Error("a chat message's content may only have parts of type 'text'");
    }
    text += read_string(part, "text");
  }
  return text;
}

ToolCall read_tool_call(const Json& json) {
  if (!json.is_object()) throw Error("a chat message's tool call is not an object");
  const Json* function = find_field(json, "function");
  const Json& call = function ? *function : json;
  if (!call.is_object()) throw Error("a tool call's 'function' is not an object");
  const Json* arguments = find_field(call, "arguments");
  return {read_string(call, "name"), arguments ? *arguments : Json::object()};
}

}  // namespace

ChatMessage ChatMessage::from_json(const Json& json) {
  if (!json.is_object()) throw Error("a chat message is not an object");
  ChatMessage message;
  message.role = read_string(json, "role");
  message.content = read_content(json);
  if (find_field(json, "reasoning_content")) {
    message.reasoning = read_string(json, "reasoning_content");
  }
  if (const Json* calls = find_field(json, "tool_calls")) {
    if (!calls->is_array()) throw Error("a chat message's 'tool_calls' is not a list");
    for (const Json& call : *calls) message.tool_calls.push_back(read_tool_call(call));
  }
  return message;
}

}  // namespace l2a
