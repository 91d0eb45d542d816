// Whether a file's tensors are what was written: their XXH3-64 against the checksums that l2a-convert stores.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "models/gguf.h"

namespace l2a {

// Called with bytes that were read, from any of the threads but never from two at a time.
using VerifyProgress =
    std::function<void(std::uint64_t done, std::uint64_t total, std::string_view tensor)>;

// Names of the tensors that differ, in file order. Reads all of the file. `threads` 0: one for each CPU that this
// process may use. Throws FileError when the file has no checksums, as files made elsewhere, or not one a tensor.
std::vector<std::string> damaged_tensors(const GgufFile& file, int threads = 0,
                                         const VerifyProgress& progress = {});

// Throws FileError when a tensor differs, naming the first.
void require_intact(const GgufFile& file, int threads = 0, const VerifyProgress& progress = {});

}  // namespace l2a
