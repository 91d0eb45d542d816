// Importance matrices: for each weight, the mean square of each column of what it is multiplied with.
// An error of a weight in a column that is always near 0 costs nothing, so encoders spend their codes elsewhere.
//
// The file is the GGUF that llama.cpp's llama-imatrix writes and llama-quantize reads: `general.type` "imatrix",
// `imatrix.datasets` string[], `imatrix.chunk_count` and `imatrix.chunk_size` u32 and, by the weight's name,
// `NAME.in_sum2` f32 [columns], the sums of squares, and `NAME.counts` f32 [1], the rows that were summed.
// Source: tools/imatrix of llama.cpp, at the time of its GGUF format (older .dat files are not read).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/convert.h"
#include "convert/gguf_writer.h"

namespace l2a {

class ImatrixWriter {
 public:
  // Opens a temporary file beside `target`. `dataset` says what text it was, `chunks` of `chunk_size` tokens each.
  ImatrixWriter(const std::filesystem::path& target, const std::string& dataset,
                std::uint32_t chunks, std::uint32_t chunk_size);

  // Counts whole rows of `columns` values for each of these weights. Throws Error for a weight that had another
  // number of columns before.
  void add(std::span<const std::string> weights, std::int64_t columns,
           std::span<const float> values);

  // Writes and renames. Throws FileError for sums that are not finite: a broken model.
  void finish();
  std::size_t weights() const { return sums_.size(); }

 private:
  struct Sums {
    std::vector<double> squares;  // by column
    std::int64_t rows = 0;
  };

  GgufWriter writer_;
  std::map<std::string, Sums, std::less<>> sums_;
  std::vector<double> squares_;  // of the rows being added
};

// Throws FileError when the file is no imatrix or holds numbers that none has. Weights that no row reached are
// left out, and so are those of several matrices (experts), which no model here has.
Importance read_imatrix(const std::filesystem::path& path);

}  // namespace l2a
