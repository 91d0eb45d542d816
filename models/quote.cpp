#include "models/quote.h"

#include <cstddef>

namespace l2a {
namespace {

constexpr std::size_t kLongestShown = 80;

void append_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      out += c;
    } else {
      out += "\\x";
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
}

}  // namespace

std::string quote(std::string_view text) {
  std::string out = "'";
  if (text.size() <= kLongestShown) {
    append_escaped(out, text);
  } else {
    append_escaped(out, text.substr(0, kLongestShown / 2));
    out += "...";
    append_escaped(out, text.substr(text.size() - kLongestShown / 4));
  }
  out += "'";
  return out;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace l2a
