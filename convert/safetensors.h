// Tensors of a Hugging Face checkpoint, memory-mapped: one file or the shards of an index.
// Format: https://github.com/huggingface/safetensors, "Format".
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace l2a {

class MappedFile;

enum class SafetensorsType : std::uint8_t {
  f64,
  f32,
  f16,
  bf16,
  i64,
  i32,
  i16,
  i8,
  u8,
  boolean,
  f8_e4m3,
  f8_e5m2
};

std::string_view safetensors_type_name(SafetensorsType type);  // as files spell it: "BF16"
std::size_t safetensors_type_bytes(SafetensorsType type);

struct SafetensorsTensor {
  std::string name;
  SafetensorsType type;
  std::vector<std::int64_t> shape;  // outermost first; empty for a single value
  std::span<const std::byte> data;  // not necessarily aligned; valid while the Safetensors lives
};

class Safetensors {
 public:
  // One .safetensors file. Throws FileError unless each tensor lies inside the file and has the
  // size that its shape and type ask for.
  static Safetensors open_file(const std::filesystem::path& path);
  // model.safetensors, or else the files that model.safetensors.index.json names.
  static Safetensors open_folder(const std::filesystem::path& folder);

  const SafetensorsTensor* find(const std::string& name) const;  // null when absent
  const std::map<std::string, SafetensorsTensor>& tensors() const { return tensors_; }
  std::span<const std::filesystem::path> files() const { return files_; }

 private:
  static Safetensors open_index(const std::filesystem::path& index);

  std::map<std::string, SafetensorsTensor> tensors_;
  std::vector<std::filesystem::path> files_;
  std::vector<std::shared_ptr<const MappedFile>> mappings_;
};

// Values `first`, `first + 1`, ... of a F64, F32, F16, BF16 or F8_E4M3 tensor as floats, as many as
// `out` holds. Throws Error for another type or values past the end.
void read_floats(const SafetensorsTensor& tensor, std::int64_t first, std::span<float> out);

}  // namespace l2a
