// Writes one .safetensors file aside and renames it: declare the tensors, then their bytes in that
// order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "convert/safetensors.h"
#include "convert/temporary_file.h"

namespace l2a {

class SafetensorsWriter {
 public:
  // See TemporaryFile for what this throws and leaves, and for `shown`.
  explicit SafetensorsWriter(std::filesystem::path target, const std::filesystem::path& shown = {});

  void set_metadata(const std::string& key, std::string_view value);

  // Throws FileError for a name declared before, and Error for an extent that is negative.
  void add_tensor(const std::string& name, SafetensorsType type,
                  std::span<const std::int64_t> shape);

  // The bytes of the tensors in pieces of any size; the first one writes the header.
  void write(std::span<const std::byte> piece);
  template <class T>
  void write_values(std::span<const T> values) {
    write(std::as_bytes(values));
  }

  // Throws FileError when more or fewer bytes were written than the tensors have.
  void finish();
  std::uint64_t file_bytes() const { return file_.size(); }

 private:
  void write_header();

  TemporaryFile file_;
  nlohmann::json header_ = nlohmann::json::object();
  std::uint64_t declared_ = 0;
  std::uint64_t written_ = 0;
  bool header_written_ = false;
};

}  // namespace l2a
