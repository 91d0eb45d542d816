// A GGUF file copied with some of its metadata and tensors changed.
#pragma once

#include <algorithm>
#include <concepts>
#include <cstring>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "convert/gguf_writer.h"
#include "graph/error.h"
#include "models/gguf.h"

namespace l2a::test {

class EditedGguf {
 public:
  explicit EditedGguf(const GgufFile& source)
      : metadata_(source.metadata().begin(), source.metadata().end()) {
    // The writer computes the checksums anew.
    erase("l2a.tensor_xxh3");
    for (const GgufTensor& tensor : source.tensors()) {
      tensors_.push_back({tensor.name, tensor.dtype, tensor.shape,
                          std::vector<std::byte>(tensor.data.begin(), tensor.data.end())});
    }
  }

  // Replaces or adds. Any integer, float, text, bool or vector of GgufValue; written as u32 (u64 where
  // it must be), i32 where negative, f32, string, bool or arrays of them.
  template <class T>
  EditedGguf& set(std::string_view key, T value) {
    GgufValue held;
    if constexpr (std::same_as<T, bool>) {
      held = value;
    } else if constexpr (std::integral<T>) {
      if (value < 0) {
        held = static_cast<std::int64_t>(value);
      } else {
        held = static_cast<std::uint64_t>(value);
      }
    } else if constexpr (std::floating_point<T>) {
      held = static_cast<double>(value);
    } else if constexpr (std::convertible_to<T, std::string_view>) {
      held = std::string(value);
    } else {
      held = std::move(value);
    }
    const auto at = find_key(key);
    if (at != metadata_.end()) {
      at->second = std::move(held);
    } else {
      metadata_.emplace_back(key, std::move(held));
    }
    return *this;
  }
  EditedGguf& erase(std::string_view key) {
    const auto at = find_key(key);
    if (at != metadata_.end()) metadata_.erase(at);
    return *this;
  }

  std::string architecture() const { return std::get<std::string>(value("general.architecture")); }
  // The key `suffix` of the file's own architecture.
  std::string key(std::string_view suffix) const { return concat(architecture(), ".", suffix); }
  const GgufValue& value(std::string_view key) const {
    for (const auto& entry : metadata_) {
      if (entry.first == key) return entry.second;
    }
    throw Error(concat("no key ", key));
  }
  std::int64_t number(std::string_view suffix) const {
    return static_cast<std::int64_t>(std::get<std::uint64_t>(value(key(suffix))));
  }
  // Gives every key of the architecture the new prefix.
  EditedGguf& rename_architecture(std::string_view to) {
    const std::string prefix = architecture() + ".";
    for (auto& [name, held] : metadata_) {
      if (name.starts_with(prefix)) name = concat(to, ".", name.substr(prefix.size()));
    }
    return set("general.architecture", to);
  }

  // Replaces or adds.
  EditedGguf& set_tensor(std::string_view name, std::vector<std::int64_t> shape,
                         std::span<const float> values) {
    const auto bytes = std::as_bytes(values);
    return put({std::string(name), Dtype::f32, std::move(shape), {bytes.begin(), bytes.end()}});
  }
  // The same extents, all zeros, in another dtype.
  EditedGguf& retype_tensor(std::string_view name, Dtype dtype) {
    Tensor tensor = this->tensor(name);
    std::int64_t elements = 1;
    for (const std::int64_t extent : tensor.shape) elements *= extent;
    tensor.dtype = dtype;
    tensor.data.assign(dtype_bytes(dtype, elements), std::byte{0});
    return put(std::move(tensor));
  }
  // Other extents over the same number of elements or fewer.
  EditedGguf& reshape_tensor(std::string_view name, std::vector<std::int64_t> shape) {
    Tensor tensor = this->tensor(name);
    std::int64_t elements = 1;
    for (const std::int64_t extent : shape) elements *= extent;
    tensor.shape = std::move(shape);
    tensor.data.resize(dtype_bytes(tensor.dtype, elements));
    return put(std::move(tensor));
  }
  EditedGguf& erase_tensor(std::string_view name) {
    std::erase_if(tensors_, [&](const Tensor& tensor) { return tensor.name == name; });
    return *this;
  }
  bool has_tensor(std::string_view name) const {
    return std::any_of(tensors_.begin(), tensors_.end(),
                       [&](const Tensor& tensor) { return tensor.name == name; });
  }
  const std::vector<std::int64_t>& shape(std::string_view name) const { return tensor(name).shape; }

  void write(const std::filesystem::path& target) const {
    GgufMetadata metadata;
    for (const auto& [key, held] : metadata_) {
      std::visit([&, &name = key](const auto& one) { write_value(metadata, name, one); }, held);
    }
    GgufWriter writer(target, std::move(metadata));
    for (const Tensor& tensor : tensors_)
      writer.add_tensor(tensor.name, tensor.dtype, tensor.shape);
    for (const Tensor& tensor : tensors_) writer.write(tensor.data);
    writer.finish();
  }

 private:
  struct Tensor {
    std::string name;
    Dtype dtype;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> data;
  };

  std::vector<std::pair<std::string, GgufValue>>::iterator find_key(std::string_view key) {
    return std::find_if(metadata_.begin(), metadata_.end(),
                        [&](const auto& entry) { return entry.first == key; });
  }
  const Tensor& tensor(std::string_view name) const {
    for (const Tensor& tensor : tensors_) {
      if (tensor.name == name) return tensor;
    }
    throw Error(concat("no tensor ", name));
  }
  EditedGguf& put(Tensor tensor) {
    erase_tensor(tensor.name);
    tensors_.push_back(std::move(tensor));
    return *this;
  }

  static void write_value(GgufMetadata& metadata, std::string_view key, std::uint64_t value) {
    if (value <= std::numeric_limits<std::uint32_t>::max()) {
      metadata.set_u32(key, static_cast<std::uint32_t>(value));
    } else {
      metadata.set_u64(key, value);
    }
  }
  static void write_value(GgufMetadata& metadata, std::string_view key, std::int64_t value) {
    metadata.set_i32(key, static_cast<std::int32_t>(value));
  }
  static void write_value(GgufMetadata& metadata, std::string_view key, double value) {
    metadata.set_f32(key, static_cast<float>(value));
  }
  static void write_value(GgufMetadata& metadata, std::string_view key, bool value) {
    metadata.set_bool(key, value);
  }
  static void write_value(GgufMetadata& metadata, std::string_view key, const std::string& value) {
    metadata.set_string(key, value);
  }
  static void write_value(GgufMetadata& metadata, std::string_view key,
                          const std::vector<std::uint64_t>& values) {
    metadata.set_array(key, std::span(values));
  }
  static void write_value(GgufMetadata& metadata, std::string_view key,
                          const std::vector<std::int64_t>& values) {
    const std::vector<std::int32_t> narrow(values.begin(), values.end());
    metadata.set_array(key, std::span(narrow));
  }
  static void write_value(GgufMetadata& metadata, std::string_view key,
                          const std::vector<double>& values) {
    const std::vector<float> narrow(values.begin(), values.end());
    metadata.set_array(key, std::span(narrow));
  }
  static void write_value(GgufMetadata& metadata, std::string_view key,
                          const std::vector<bool>& values) {
    metadata.set_array(key, values);
  }
  static void write_value(GgufMetadata& metadata, std::string_view key,
                          const std::vector<std::string>& values) {
    metadata.set_array(key, std::span(values));
  }

  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<Tensor> tensors_;
};

}  // namespace l2a::test
