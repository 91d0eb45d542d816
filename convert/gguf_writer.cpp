#include "convert/gguf_writer.h"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "convert/append.h"
#include "graph/error.h"
#include "models/quote.h"

namespace l2a {
struct GgufWriter::Hash {
  Hash() : state(XXH3_createState()) {
    if (state == nullptr) {
      throw std::bad_alloc();
    }
    XXH3_64bits_reset(state);
  }
  ~Hash() { XXH3_freeState(state); }
  Hash(const Hash&) = delete;
  Hash& operator=(const Hash&) = delete;

  XXH3_state_t* state;
};

GgufWriter::GgufWriter(std::filesystem::path target, GgufMetadata metadata)
    : file_(std::move(target)), metadata_(std::move(metadata)), hash_(std::make_unique<Hash>()) {
  // Only an alignment of 32 is written here, and the hashes are the last key (see write_header).
  metadata_.erase(kGgufAlignmentKey);
  metadata_.erase(kTensorHashesKey);
}

GgufWriter::~GgufWriter() = default;

void GgufWriter::add_tensor(std::string_view name, Dtype dtype,
                            std::span<const std::int64_t> shape) {
  const std::string what = concat(file_.name(), ": tensor ", quote(name));
  if (std::any_of(tensors_.begin(), tensors_.end(),
                  [&](const Tensor& t) { return t.name == name; })) {
    throw FileError(concat(what, " is declared twice"));
  }
  if (shape.empty() || shape.size() > kGgufMaxDimensions ||
      std::any_of(shape.begin(), shape.end(), [](std::int64_t extent) { return extent <= 0; }) ||
      shape.back() % dtype_info(dtype).block_elements != 0) {
    throw FileError(
        concat(what, ": shape ", shape_text(shape), " cannot be stored as ", dtype_name(dtype)));
  }
  const auto elements =
      std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
  tensors_.push_back(
      {std::string(name), dtype, {shape.begin(), shape.end()}, dtype_bytes(dtype, elements)});
}

std::uint64_t GgufWriter::data_bytes() const {
  return std::accumulate(
      tensors_.begin(), tensors_.end(), std::uint64_t{0},
      [](std::uint64_t sum, const Tensor& tensor) { return sum + tensor.bytes; });
}

void GgufWriter::write_header() {
  header_written_ = true;
  // Zeros for now: the hashes are known when the data has passed.
  metadata_.set_array(kTensorHashesKey, std::vector<std::uint64_t>(tensors_.size()));

  std::string header(kGgufMagic);
  append(header, kGgufVersion);
  append(header, std::uint64_t{tensors_.size()});
  append(header, std::uint64_t{metadata_.size()});
  header += metadata_.encode();
  hashes_offset_ = header.size() - tensors_.size() * sizeof(std::uint64_t);
  std::uint64_t offset = 0;
  for (const Tensor& tensor : tensors_) {
    append_string(header, tensor.name);
    append(header, static_cast<std::uint32_t>(tensor.shape.size()));
    for (auto extent = tensor.shape.rbegin(); extent != tensor.shape.rend(); ++extent) {
      append(header, static_cast<std::uint64_t>(*extent));
    }
    append(header, gguf_tensor_type(tensor.dtype));
    append(header, offset);
    offset += align_up(tensor.bytes, kGgufDefaultAlignment);
  }
  file_.write(std::as_bytes(std::span(header)));
  pad();
}

void GgufWriter::pad() {
  constexpr std::array<std::byte, kGgufDefaultAlignment> kZeros{};
  const std::uint64_t padding = align_up(file_.size(), kGgufDefaultAlignment) - file_.size();
  file_.write(std::span(kZeros).first(static_cast<std::size_t>(padding)));
}

void GgufWriter::write(std::span<const std::byte> piece) {
  if (!header_written_) {
    write_header();
  }
  if (piece.empty()) {
    return;
  }
  if (current_ == tensors_.size() || piece.size() > tensors_[current_].bytes - written_) {
    throw FileError(concat(file_.name(), ": more data than the declared tensors hold"));
  }
  file_.write(piece);
  XXH3_64bits_update(hash_->state, piece.data(), piece.size());
  written_ += piece.size();
  if (written_ == tensors_[current_].bytes) {
    hashes_.push_back(XXH3_64bits_digest(hash_->state));
    XXH3_64bits_reset(hash_->state);
    pad();
    ++current_;
    written_ = 0;
  }
}

void GgufWriter::finish() {
  if (!header_written_) {
    write_header();
  }
  if (current_ != tensors_.size()) {
    throw FileError(concat(file_.name(), ": the data of tensor ", quote(tensors_[current_].name),
                           " is incomplete"));
  }
  file_.overwrite(hashes_offset_, std::as_bytes(std::span(hashes_)));
  file_.commit();
}

}  // namespace l2a
