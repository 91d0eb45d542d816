#include "convert/gguf_metadata.h"

#include <algorithm>

#include "convert/append.h"
#include "models/gguf.h"

namespace l2a {

GgufMetadata::GgufMetadata(const GgufFile& file) {
  for (std::size_t i = 0; i < file.metadata().size(); ++i) {
    const std::span<const std::byte> value = file.encoded_value(i);
    entries_.push_back({file.metadata()[i].first,
                        std::string(reinterpret_cast<const char*>(value.data()), value.size())});
  }
}

std::string& GgufMetadata::value_of(std::string_view key) {
  const auto found = std::find_if(entries_.begin(), entries_.end(),
                                  [&](const Entry& entry) { return entry.key == key; });
  if (found != entries_.end()) {
    found->value.clear();
    return found->value;
  }
  return entries_.emplace_back(Entry{std::string(key), {}}).value;
}

std::string& GgufMetadata::begin(std::string_view key, GgufType type) {
  std::string& value = value_of(key);
  append(value, static_cast<std::uint32_t>(type));
  return value;
}

std::string& GgufMetadata::begin_array(std::string_view key, GgufType element, std::size_t count) {
  std::string& value = begin(key, GgufType::array);
  append(value, static_cast<std::uint32_t>(element));
  append(value, std::uint64_t{count});
  return value;
}

void GgufMetadata::set_u32(std::string_view key, std::uint32_t value) {
  append(begin(key, GgufType::u32), value);
}

void GgufMetadata::set_i32(std::string_view key, std::int32_t value) {
  append(begin(key, GgufType::i32), value);
}

void GgufMetadata::set_u64(std::string_view key, std::uint64_t value) {
  append(begin(key, GgufType::u64), value);
}

void GgufMetadata::set_f32(std::string_view key, float value) {
  append(begin(key, GgufType::f32), value);
}

void GgufMetadata::set_bool(std::string_view key, bool value) {
  append(begin(key, GgufType::boolean), std::uint8_t{value});
}

void GgufMetadata::set_string(std::string_view key, std::string_view value) {
  append_string(begin(key, GgufType::string), value);
}

void GgufMetadata::set_array(std::string_view key, std::span<const std::uint64_t> values) {
  append_all(begin_array(key, GgufType::u64, values.size()), values);
}

void GgufMetadata::set_array(std::string_view key, std::span<const std::int32_t> values) {
  append_all(begin_array(key, GgufType::i32, values.size()), values);
}

void GgufMetadata::set_array(std::string_view key, std::span<const float> values) {
  append_all(begin_array(key, GgufType::f32, values.size()), values);
}

void GgufMetadata::set_array(std::string_view key, const std::vector<bool>& values) {
  std::string& encoded = begin_array(key, GgufType::boolean, values.size());
  for (const bool value : values) append(encoded, std::uint8_t{value});
}

void GgufMetadata::set_array(std::string_view key, std::span<const std::string> values) {
  std::string& encoded = begin_array(key, GgufType::string, values.size());
  for (const std::string& value : values) append_string(encoded, value);
}

void GgufMetadata::erase(std::string_view key) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.key == key; });
}

void GgufMetadata::rename_prefix(std::string_view from, std::string_view to) {
  for (Entry& entry : entries_) {
    if (std::string_view(entry.key).starts_with(from)) entry.key.replace(0, from.size(), to);
  }
}

std::string GgufMetadata::encode() const {
  std::string out;
  for (const Entry& entry : entries_) {
    append_string(out, entry.key);
    out += entry.value;
  }
  return out;
}

}  // namespace l2a
