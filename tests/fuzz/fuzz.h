// What the fuzz targets share. Each is a libFuzzer program: it is given bytes, makes a file of them, and reads that
// as the programs do. An l2a::Error is the right answer to almost every input; a crash, a sanitizer's finding, any
// other exception, or memory out of proportion to the file is what they look for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

#include "graph/error.h"
#include "tests/temporary_folder.h"

namespace l2a::test {

// Inputs that are too large only slow the search down.
inline constexpr std::size_t kLargestInput = 1 << 18;

// A folder that lives as long as the process, and in it the input as a file of this name.
inline std::filesystem::path input_file(std::string_view name, const std::uint8_t* data,
                                        std::size_t size) {
  static const TemporaryFolder folder;
  return folder.write(name, {reinterpret_cast<const char*>(data), size});
}

// Runs `body`, and takes a refusal for an answer.
template <class Body>
void attempt(Body body) {
  try {
    body();
  } catch (const Error&) {  // NOLINT(bugprone-empty-catch)
  }
}

// Reads every byte, so that a span past the end of its memory is found.
inline void touch(std::span<const std::byte> bytes) {
  [[maybe_unused]] static volatile unsigned sum;
  unsigned total = 0;
  for (const std::byte byte : bytes) total += std::to_integer<unsigned>(byte);
  sum = total;
}

}  // namespace l2a::test
