#include "models/json_text.h"

#include <array>
#include <charconv>
#include <cmath>
#include <string_view>

#include "graph/error.h"

namespace l2a {
namespace {

using Json = nlohmann::ordered_json;

// Tools come from requests: without a limit a hostile one could exhaust the stack.
constexpr int kDeepest = 200;

void write_string(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  constexpr std::string_view kEscaped = "\"\\\b\f\n\r\t", kLetters = "\"\\bfnrt";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (const std::size_t at = kEscaped.find(c); at != std::string_view::npos) {
      out += {'\\', kLetters[at]};
    } else if (byte < 0x20) {
      out.append("\\u00").append({kHex[byte >> 4], kHex[byte & 15]});
    } else {
      out += c;
    }
  }
  out += '"';
}

// Python's repr: the shortest digits that read back the same, with an exponent below 1e-4 and from
// 1e16.
void write_float(std::string& out, double value) {
  if (!std::isfinite(value)) {
    out += std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
    return;
  }
  const double size = std::abs(value);
  const bool is_fixed = size == 0 || (size >= 1e-4 && size < 1e16);
  std::array<char, 64> digits;
  const auto end =
      std::to_chars(digits.data(), digits.data() + digits.size(), value,
                    is_fixed ? std::chars_format::fixed : std::chars_format::scientific);
  const std::string_view text(digits.data(), static_cast<std::size_t>(end.ptr - digits.data()));
  out += text;
  if (is_fixed && text.find('.') == std::string_view::npos) out += ".0";
}

void write(std::string& out, const Json& value, int depth) {
  if (depth > kDeepest) throw Error(concat("JSON is nested more than ", kDeepest, " deep"));
  std::string_view separator;
  if (value.is_object()) {
    out += '{';
    for (const auto& [key, item] : value.items()) {
      out += separator;
      write_string(out, key);
      out += ": ";
      write(out, item, depth + 1);
      separator = ", ";
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (const Json& item : value) {
      out += separator;
      write(out, item, depth + 1);
      separator = ", ";
    }
    out += ']';
  } else if (value.is_string()) {
    write_string(out, value.get_ref<const std::string&>());
  } else if (value.is_number_float()) {
    write_float(out, value.get<double>());
  } else {
    out += value.dump();
  }
}

}  // namespace

std::string python_json(const Json& value) {
  std::string out;
  write(out, value, 0);
  return out;
}

}  // namespace l2a
