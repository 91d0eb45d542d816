#include "models/byte_level.h"

#include <array>

#include "models/utf8.h"

namespace l2a {
namespace {

constexpr bool stands_for_itself(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

constexpr std::array<char32_t, 256> make_symbols() {
  std::array<char32_t, 256> symbols{};
  char32_t next = 0x100;
  for (unsigned byte = 0; byte < 256; ++byte) {
    symbols[byte] = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
  }
  return symbols;
}

constexpr std::array<char32_t, 256> kSymbols = make_symbols();
constexpr std::size_t kSymbolEnd = 0x100 + 68;  // 68 bytes do not stand for themselves
constexpr std::int16_t kNoByte = -1;

constexpr std::array<std::int16_t, kSymbolEnd> make_bytes() {
  std::array<std::int16_t, kSymbolEnd> bytes{};
  for (auto& byte : bytes) byte = kNoByte;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    bytes[kSymbols[byte]] = static_cast<std::int16_t>(byte);
  }
  return bytes;
}

constexpr std::array<std::int16_t, kSymbolEnd> kBytes = make_bytes();

}  // namespace

std::string byte_level_symbol(std::uint8_t byte) {
  std::string out;
  append_utf8(out, kSymbols[byte]);
  return out;
}

std::optional<std::string> decode_byte_level(std::string_view token_text) {
  std::string out;
  for (std::size_t at = 0; at < token_text.size();) {
    const Utf8Sequence symbol = read_utf8(token_text.substr(at));
    if (symbol.kind != Utf8Sequence::Kind::valid || symbol.code_point >= kSymbolEnd ||
        kBytes[symbol.code_point] == kNoByte) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(kBytes[symbol.code_point]));
    at += symbol.length;
  }
  return out;
}

}  // namespace l2a
