#include "convert/tensor_stream.h"

#include <algorithm>
#include <cmath>

#include "convert/encode/encode.h"
#include "graph/error.h"
#include "models/mapped_file.h"
#include "models/quote.h"
#include "ops/quantize.h"

namespace l2a {
namespace {

// Values read, encoded and written at a time: enough for every core, little beside a model.
constexpr std::int64_t kSliceValues = std::int64_t{1} << 22;
constexpr std::int64_t kGrainValues = std::int64_t{1} << 15;  // of one thread's turn

}  // namespace

TensorStream::TensorStream(std::string origin, const StreamOptions& options, std::uint64_t total)
    : origin_(std::move(origin)),
      options_(options),
      total_(total),
      pool_(options.threads) {}

void TensorStream::run(const SourceTensor& tensor, Dtype dtype, std::span<const float> importance,
                       const Sink& sink) {
  // Plain values go through floats even when their type stays: exact, and NaN is found.
  if (!tensor.bytes.empty() && tensor.stored == dtype && dtype_info(dtype).quantized) {
    copy(tensor, sink);
  } else {
    encode(tensor, dtype, importance, sink);
  }
  MappedFile::release(tensor.mapped);
}

void TensorStream::put(const SourceTensor& tensor, std::span<const std::byte> bytes,
                       const Sink& sink) {
  sink(bytes);
  done_ += bytes.size();
  if (options_.progress) {
    options_.progress(done_, total_, tensor.name);
  }
}

void TensorStream::copy(const SourceTensor& tensor, const Sink& sink) {
  constexpr std::size_t kPiece = std::size_t{16} << 20;
  for (std::size_t at = 0; at < tensor.bytes.size(); at += kPiece) {
    put(tensor, tensor.bytes.subspan(at, std::min(kPiece, tensor.bytes.size() - at)), sink);
  }
}

void TensorStream::encode(const SourceTensor& tensor, Dtype dtype,
                          std::span<const float> importance, const Sink& sink) {
  const std::int64_t columns = tensor.row_length(), rows = tensor.rows();
  const std::int64_t rows_at_once = std::max<std::int64_t>(1, kSliceValues / columns);
  const std::size_t row_bytes = dtype_bytes(dtype, columns);
  for (std::int64_t first = 0; first < rows; first += rows_at_once) {
    const std::int64_t count = std::min(rows_at_once, rows - first);
    values_.resize(static_cast<std::size_t>(count * columns));
    encoded_.resize(static_cast<std::size_t>(count) * row_bytes);
    failure_ = nullptr;
    pool_.parallel_for(count, std::max<std::int64_t>(1, kGrainValues / columns),
                       [&](std::int64_t begin, std::int64_t end) {
                         const auto at = static_cast<std::size_t>(begin),
                                    size = static_cast<std::size_t>(end - begin);
                         const std::span<float> values =
                             std::span(values_).subspan(at * static_cast<std::size_t>(columns),
                                                        size * static_cast<std::size_t>(columns));
                         const std::span<std::byte> encoded =
                             std::span(encoded_).subspan(at * row_bytes, size * row_bytes);
                         // A loop's body may not throw: the first failure is kept for the caller.
                         try {
                           tensor.read(first + begin, values);
                           check(tensor, dtype, values);
                           if (dtype_info(dtype).quantized) {
                             encode_rows(dtype, values, columns, importance, encoded);
                           } else {
                             quantize_row(dtype, values, encoded);
                           }
                         } catch (...) {
                           const std::lock_guard lock(failure_mutex_);
                           if (!failure_) failure_ = std::current_exception();
                         }
                       });
    if (failure_) std::rethrow_exception(failure_);
    put(tensor, encoded_, sink);
  }
}

void TensorStream::check(const SourceTensor& tensor, Dtype dtype,
                         std::span<const float> values) const {
  const bool plain = !dtype_info(dtype).quantized;
  const float limit = largest_storable(dtype);
  for (const float value : values) {
    // Written so that NaN fails it too.
    if (std::fabs(value) <= limit || (options_.allow_nan && plain && !std::isfinite(value)))
      continue;
    throw FileError(concat(origin_, ": tensor ", quote(tensor.origin), " holds ", value,
                           std::isfinite(value)
                               ? concat(", which ", dtype_name(dtype), " cannot hold")
                               : std::string("; finite values were expected")));
  }
}

}  // namespace l2a
