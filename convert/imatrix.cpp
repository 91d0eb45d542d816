#include "convert/imatrix.h"

#include <array>
#include <cmath>
#include <cstring>

#include "graph/error.h"
#include "models/gguf.h"
#include "models/quote.h"

namespace l2a {
namespace {

constexpr std::string_view kType = "imatrix";
constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";

GgufMetadata metadata_of(const std::string& dataset, std::uint32_t chunks,
                         std::uint32_t chunk_size) {
  GgufMetadata metadata;
  metadata.set_string("general.type", kType);
  metadata.set_array("imatrix.datasets", std::span<const std::string>(&dataset, 1));
  metadata.set_u32("imatrix.chunk_count", chunks);
  metadata.set_u32("imatrix.chunk_size", chunk_size);
  return metadata;
}

// The data may lie at any address.
std::vector<float> floats_of(const GgufFile& file, const GgufTensor& tensor) {
  const std::string where = concat(file.path().string(), ": tensor ", quote(tensor.name));
  if (tensor.dtype != Dtype::f32) {
    throw FileError(concat(where, " is ", dtype_name(tensor.dtype), "; f32 was expected"));
  }
  std::vector<float> values(tensor.data.size() / sizeof(float));
  std::memcpy(values.data(), tensor.data.data(), values.size() * sizeof(float));
  for (const float value : values) {
    if (!(value >= 0 && std::isfinite(value))) {
      throw FileError(
          concat(where, " holds ", value, "; finite numbers of no less than 0 were expected"));
    }
  }
  return values;
}

}  // namespace

ImatrixWriter::ImatrixWriter(const std::filesystem::path& target, const std::string& dataset,
                             std::uint32_t chunks, std::uint32_t chunk_size)
    : writer_(target, metadata_of(dataset, chunks, chunk_size)) {}

void ImatrixWriter::add(std::span<const std::string> weights, std::int64_t columns,
                        std::span<const float> values) {
  const auto width = static_cast<std::size_t>(columns);
  squares_.assign(width, 0.0);
  for (std::size_t row = 0; row < values.size(); row += width) {
    for (std::size_t i = 0; i < width; ++i) {
      const double value = values[row + i];
      squares_[i] += value * value;
    }
  }
  for (const std::string& weight : weights) {
    Sums& sums = sums_[weight];
    if (sums.squares.empty()) sums.squares.resize(width);
    if (sums.squares.size() != width) {
      throw Error(concat("weight ", quote(weight), " had ", sums.squares.size(), " columns, now ",
                         columns));
    }
    for (std::size_t i = 0; i < width; ++i) sums.squares[i] += squares_[i];
    sums.rows += static_cast<std::int64_t>(values.size() / width);
  }
}

void ImatrixWriter::finish() {
  for (const auto& [weight, sums] : sums_) {
    const std::array shape{static_cast<std::int64_t>(sums.squares.size())};
    writer_.add_tensor(concat(weight, kSums), Dtype::f32, shape);
    writer_.add_tensor(concat(weight, kCounts), Dtype::f32, std::array{std::int64_t{1}});
  }
  for (const auto& [weight, sums] : sums_) {
    const std::vector<float> squares(sums.squares.begin(), sums.squares.end());
    for (const float square : squares) {
      if (!std::isfinite(square)) {
        throw FileError(concat("the inputs of weight ", quote(weight),
                               " are not finite numbers: no imatrix can be made of them"));
      }
    }
    writer_.write(std::as_bytes(std::span(squares)));
    const auto rows = static_cast<float>(sums.rows);
    writer_.write(std::as_bytes(std::span(&rows, 1)));
  }
  writer_.finish();
}

Importance read_imatrix(const std::filesystem::path& path) {
  const auto file = GgufFile::open(path);
  const std::string* type = file->find_string("general.type");
  if (type == nullptr || *type != kType) {
    throw FileError(concat(path.string(), ": is not an imatrix: 'general.type' is ",
                           type == nullptr ? std::string("absent") : quote(*type)));
  }
  Importance importance;
  for (const GgufTensor& tensor : file->tensors()) {
    if (!tensor.name.ends_with(kSums)) continue;
    const std::string weight = tensor.name.substr(0, tensor.name.size() - kSums.size());
    const GgufTensor* counts = file->find_tensor(concat(weight, kCounts));
    if (counts == nullptr) {
      throw FileError(concat(path.string(), ": tensor ", quote(concat(weight, kCounts)),
                             " is missing beside its sums"));
    }
    std::vector<float> values = floats_of(*file, tensor);
    const std::vector<float> rows = floats_of(*file, *counts);
    if (rows.size() != 1 || rows[0] == 0) continue;
    for (float& value : values) value /= rows[0];
    importance.emplace(weight, std::move(values));
  }
  if (importance.empty()) throw FileError(concat(path.string(), ": has no sums of any weight"));
  return importance;
}

}  // namespace l2a
