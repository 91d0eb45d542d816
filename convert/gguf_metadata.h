// The metadata of a GGUF file in the making: keys and values in the order in which they will be written.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/gguf_format.h"

namespace l2a {

class GgufFile;

class GgufMetadata {
 public:
  GgufMetadata() = default;
  // Every key of a file, as it is there.
  explicit GgufMetadata(const GgufFile& file);

  // Sets a key; one that is there already keeps its place.
  void set_u32(std::string_view key, std::uint32_t value);
  void set_i32(std::string_view key, std::int32_t value);
  void set_u64(std::string_view key, std::uint64_t value);
  void set_f32(std::string_view key, float value);
  void set_bool(std::string_view key, bool value);
  void set_string(std::string_view key, std::string_view value);
  void set_array(std::string_view key, std::span<const std::uint64_t> values);
  void set_array(std::string_view key, std::span<const std::int32_t> values);
  void set_array(std::string_view key, std::span<const float> values);
  void set_array(std::string_view key, const std::vector<bool>& values);
  void set_array(std::string_view key, std::span<const std::string> values);

  void erase(std::string_view key);
  // Gives every key that starts with `from` the start `to` instead.
  void rename_prefix(std::string_view from, std::string_view to);

  std::size_t size() const { return entries_.size(); }
  // As it lies in the file: each key, its value's type, and the value.
  std::string encode() const;

 private:
  struct Entry {
    std::string key;
    std::string value;  // type first
  };
  std::string& value_of(std::string_view key);
  std::string& begin(std::string_view key, GgufType type);
  std::string& begin_array(std::string_view key, GgufType element, std::size_t count);

  std::vector<Entry> entries_;
};

}  // namespace l2a
