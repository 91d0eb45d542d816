#include "models/utf8.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <vector>

#include "graph/error.h"

namespace l2a {
namespace {

unsigned char byte_at(std::string_view bytes, std::size_t i) {
  return static_cast<unsigned char>(bytes[i]);
}

// What the first byte promises: how long the character is, and the range of its second byte, which
// is where overlong forms, surrogates and values past U+10FFFF are excluded.
struct Lead {
  std::size_t length;
  unsigned char second_low = 0x80, second_high = 0xBF;
};

Lead read_lead(unsigned char byte) {
  if (byte < 0x80) return {1};
  if (byte < 0xC2) return {0};
  if (byte < 0xE0) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

bool starts_with_eight_ascii_bytes(std::string_view text) {
  if (text.size() < 8) return false;
  std::uint64_t word = 0;
  std::memcpy(&word, text.data(), sizeof word);
  return (word & 0x8080808080808080u) == 0;
}

utf8proc_uint8_t combining_class(utf8proc_int32_t code_point) {
  return static_cast<utf8proc_uint8_t>(utf8proc_get_property(code_point)->combining_class);
}

constexpr auto kCompose = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

void append_decomposed(std::vector<utf8proc_int32_t>& out, char32_t code_point) {
  std::array<utf8proc_int32_t, 32> parts;  // no canonical decomposition is longer than four
  int boundary_class = 0;
  const utf8proc_ssize_t count =
      utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point), parts.data(), parts.size(),
                              kCompose, &boundary_class);
  if (count < 0) throw Error(concat("normalizing text: ", utf8proc_errmsg(count)));
  out.insert(out.end(), parts.begin(), parts.begin() + count);
}

// Canonical ordering. utf8proc's own is an insertion sort, quadratic in the length of a run of
// marks.
void sort_combining_marks(std::vector<utf8proc_int32_t>& code_points) {
  const auto is_starter = [](utf8proc_int32_t c) { return combining_class(c) == 0; };
  const auto by_class = [](utf8proc_int32_t a, utf8proc_int32_t b) {
    return combining_class(a) < combining_class(b);
  };
  for (auto run = code_points.begin(); run != code_points.end();) {
    run = std::find_if_not(run, code_points.end(), is_starter);
    const auto end = std::find_if(run, code_points.end(), is_starter);
    std::stable_sort(run, end, by_class);
    run = end;
  }
}

}  // namespace

Utf8Sequence read_utf8(std::string_view bytes) {
  using Kind = Utf8Sequence::Kind;
  const unsigned char first = byte_at(bytes, 0);
  const Lead lead = read_lead(first);
  if (lead.length == 0) return {Kind::invalid, 1, 0};
  if (lead.length == 1) return {Kind::valid, 1, first};
  char32_t code_point = first & (0x7Fu >> lead.length);
  for (std::size_t i = 1; i < lead.length; ++i) {
    if (i == bytes.size()) return {Kind::truncated, i, 0};
    const unsigned char low = i == 1 ? lead.second_low : 0x80;
    const unsigned char high = i == 1 ? lead.second_high : 0xBF;
    const unsigned char byte = byte_at(bytes, i);
    if (byte < low || byte > high) return {Kind::invalid, i, 0};
    code_point = code_point << 6 | (byte & 0x3Fu);
  }
  return {Kind::valid, lead.length, code_point};
}

void append_utf8(std::string& out, char32_t code_point) {
  std::array<utf8proc_uint8_t, 4> bytes;
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code_point), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(length));
}

std::optional<std::size_t> find_invalid_utf8(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    if (starts_with_eight_ascii_bytes(rest)) {
      at += 8;
      continue;
    }
    const Utf8Sequence sequence = read_utf8(rest);
    if (sequence.kind != Utf8Sequence::Kind::valid) return at;
    at += sequence.length;
  }
  return std::nullopt;
}

std::string take_complete_utf8(std::string& held) {
  std::string out;
  std::size_t at = 0;
  while (at < held.size()) {
    const Utf8Sequence sequence = read_utf8(std::string_view(held).substr(at));
    if (sequence.kind == Utf8Sequence::Kind::truncated) break;
    if (sequence.kind == Utf8Sequence::Kind::valid) {
      out.append(held, at, sequence.length);
    } else {
      append_utf8(out, U'\uFFFD');
    }
    at += sequence.length;
  }
  held.erase(0, at);
  return out;
}

bool is_trivially_nfc(std::string_view text) {
  // U+0300 and above are the characters whose first byte is 0xCC or more.
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) >= 0xCC; });
}

std::string normalize_nfc(std::string_view text) {
  std::vector<utf8proc_int32_t> code_points;
  code_points.reserve(text.size() + 1);
  for (std::size_t at = 0; at < text.size();) {
    const Utf8Sequence sequence = read_utf8(text.substr(at));
    append_decomposed(code_points, sequence.code_point);
    at += sequence.length;
  }
  sort_combining_marks(code_points);
  const utf8proc_ssize_t count = utf8proc_normalize_utf32(
      code_points.data(), static_cast<utf8proc_ssize_t>(code_points.size()), kCompose);
  if (count < 0) throw Error(concat("normalizing text: ", utf8proc_errmsg(count)));
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    append_utf8(out, static_cast<char32_t>(code_points[static_cast<std::size_t>(i)]));
  }
  return out;
}

}  // namespace l2a
