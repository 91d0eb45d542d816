#include "convert/safetensors_writer.h"

#include <algorithm>
#include <utility>

#include "graph/error.h"
#include "models/quote.h"

namespace l2a {

SafetensorsWriter::SafetensorsWriter(std::filesystem::path target,
                                     const std::filesystem::path& shown)
    : file_(std::move(target), shown) {}

void SafetensorsWriter::set_metadata(const std::string& key, std::string_view value) {
  header_["__metadata__"][key] = value;
}

void SafetensorsWriter::add_tensor(const std::string& name, SafetensorsType type,
                                   std::span<const std::int64_t> shape) {
  if (header_.contains(name)) {
    throw FileError(concat(file_.name(), ": tensor ", quote(name), " is declared twice"));
  }
  if (std::any_of(shape.begin(), shape.end(), [](std::int64_t extent) { return extent < 0; })) {
    throw Error(
        concat("tensor ", quote(name), ": shape ", shape_text(shape), " has a negative extent"));
  }
  std::uint64_t bytes = safetensors_type_bytes(type);
  for (const std::int64_t extent : shape) {
    bytes *= static_cast<std::uint64_t>(extent);
  }
  header_[name] = {{"dtype", safetensors_type_name(type)},
                   {"shape", std::vector<std::int64_t>(shape.begin(), shape.end())},
                   {"data_offsets", {declared_, declared_ + bytes}}};
  declared_ += bytes;
}

void SafetensorsWriter::write_header() {
  header_written_ = true;
  std::string text = header_.dump();
  text.resize((text.size() + 7) / 8 * 8,
              ' ');  // the data begins on 8 bytes, as the format recommends
  const std::uint64_t length = text.size();
  file_.write(std::as_bytes(std::span(&length, 1)));
  file_.write(std::as_bytes(std::span(text)));
}

void SafetensorsWriter::write(std::span<const std::byte> piece) {
  if (!header_written_) {
    write_header();
  }
  if (piece.size() > declared_ - written_) {
    throw FileError(concat(file_.name(), ": more data than the declared tensors hold"));
  }
  file_.write(piece);
  written_ += piece.size();
}

void SafetensorsWriter::finish() {
  write({});
  if (written_ != declared_) {
    throw FileError(concat(file_.name(), ": ", declared_ - written_, " bytes of data are missing"));
  }
  file_.commit();
}

}  // namespace l2a
