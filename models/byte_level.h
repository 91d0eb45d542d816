// GPT-2's byte <-> printable code point map: a byte-level vocabulary writes each byte of a token as
// one visible character, itself where it is printable Latin-1 and U+0100 upward in order where it
// is not (a space is "Ġ", U+0120).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace l2a {

// The UTF-8 of the character that stands for a byte.
std::string byte_level_symbol(std::uint8_t byte);

// The bytes that a token's text stands for; nothing when it is not byte-level text throughout.
std::optional<std::string> decode_byte_level(std::string_view token_text);

}  // namespace l2a
