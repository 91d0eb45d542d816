#include "examples/common/conversion_bench.h"

#include <unistd.h>

#include "convert/checkpoint.h"
#include "convert/convert.h"
#include "convert/output_folder.h"
#include "convert/recipe.h"
#include "examples/common/main_wrapper.h"
#include "examples/common/progress.h"
#include "graph/error.h"
#include "graph/stopwatch.h"

namespace l2a {
namespace {

ConversionResult time_one(const ConversionBench& bench, const WriteOptions& options) {
  ConversionResult result;
  const std::filesystem::path& source = bench.source;
  result.model = (source.has_filename() ? source : source.parent_path()).filename().string();
  result.type = options.recipe->name;
  result.threads = options.threads;
  const auto convert = [&] {
    const Checkpoint checkpoint = open_checkpoint(source);
    result.file_bytes = write_gguf(checkpoint, options).file_bytes;
    result.weights = 0;
    for (const SourceTensor& tensor : checkpoint.tensors)
      result.weights += static_cast<std::uint64_t>(tensor.rows() * tensor.row_length());
  };
  if (bench.warms_up) convert();
  for (std::int64_t i = 0; i < bench.repetitions; ++i)
    result.seconds.push_back(seconds_of(convert));
  return result;
}

}  // namespace

void time_conversions(const ConversionBench& bench, BenchReport report) {
  constexpr const char* kFile = "converted.gguf";
  // Never complete, so that whatever ends the program removes it.
  const OutputFolder folder(
      std::filesystem::temp_directory_path() / concat("l2a-bench-", ::getpid()), {kFile});
  Progress progress(!bench.quiet && ::isatty(STDERR_FILENO) == 1);
  WriteOptions options;
  options.target = folder.file(kFile);
  options.progress = [&](std::uint64_t done, std::uint64_t total, std::string_view tensor) {
    progress.update(done, total, tensor);
  };
  for (const int threads : bench.threads) {
    for (const std::string& type : bench.types) {
      options.threads = threads;
      options.recipe = find_recipe(type);
      const ConversionResult result = time_one(bench, options);
      progress.clear();
      print(report.add(result));
    }
  }
  print(report.end());
}

}  // namespace l2a
