// How long conversions take: l2a-bench --convert.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "examples/common/bench_report.h"

namespace l2a {

struct ConversionBench {
  std::filesystem::path source;    // a GGUF file or a Hugging Face folder
  std::vector<std::string> types;  // names of recipes
  std::vector<int> threads;
  std::int64_t repetitions = 1;
  bool warms_up = true;  // once more before, which brings the source into memory
  bool quiet = false;
};

// Prints each result as it comes. Files go into a folder in that of temporary files, which is removed in the end, and
// by clean_up_on_signals(). Throws FileError as opening and writing do.
void time_conversions(const ConversionBench& bench, BenchReport report);

}  // namespace l2a
