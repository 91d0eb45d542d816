// UTF-8 read strictly (no overlong forms, surrogates, or values past U+10FFFF), and NFC.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace l2a {

// What stands at the start of some bytes. An invalid sequence is as long as the bytes that could
// have begun a character (Unicode's "maximal subpart"), so that each becomes one U+FFFD as
// everywhere else.
struct Utf8Sequence {
  enum class Kind : std::uint8_t { valid, truncated, invalid };

  Kind kind;
  std::size_t length;
  char32_t code_point;  // when valid
};

// `bytes` may not be empty.
Utf8Sequence read_utf8(std::string_view bytes);

void append_utf8(std::string& out, char32_t code_point);

// The offset of the first byte that is not part of a complete, valid character.
std::optional<std::size_t> find_invalid_utf8(std::string_view text);

// Removes from the front of `held` what is decided and returns it, with U+FFFD for what can never
// become valid. What stays in `held` is at most three bytes: the start of a character that may
// still be completed.
std::string take_complete_utf8(std::string& held);

// Unicode Normalization Form C of valid UTF-8. Takes O(n log n) whatever the text: a run of
// combining marks a megabyte long is sorted, not bubbled.
std::string normalize_nfc(std::string_view text);

// True when normalize_nfc would return `text` because every character is below U+0300.
bool is_trivially_nfc(std::string_view text);

}  // namespace l2a
