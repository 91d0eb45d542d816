// A memory-mapped GGUF v3 file (also v2, which differs in nothing that is read here).
// Format: the GGUF specification, docs/gguf.md of the ggml project.
//
// Every number in the file is checked before it is used: counts and lengths against the bytes that remain,
// offsets against the end of the file, sizes for overflow. Nothing is allocated from an unchecked number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "graph/dtype.h"

namespace l2a {

class MappedFile;

// Integers of every width are held as int64 or uint64, floats as double; arrays of one kind each.
// Arrays of arrays are read (to a fixed depth), checked and skipped: no key that is used here has one.
using GgufValue = std::variant<std::uint64_t, std::int64_t, double, bool, std::string,
                               std::vector<std::uint64_t>, std::vector<std::int64_t>,
                               std::vector<double>, std::vector<bool>, std::vector<std::string>>;

struct GgufTensor {
  std::string name;
  Dtype dtype;
  std::vector<std::int64_t> shape;  // outermost first (the file stores innermost first)
  std::span<const std::byte> data;  // inside the mapping; valid while the GgufFile lives
};

class GgufFile {
 public:
  GgufFile(const GgufFile&) = delete;
  GgufFile& operator=(const GgufFile&) = delete;

  // Maps and checks the file. Throws FileError naming the file, the field and what was expected.
  static std::shared_ptr<const GgufFile> open(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return path_; }
  std::uint64_t file_bytes() const;

  // Metadata. The get_* functions throw FileError when the key is absent or of another kind;
  // the find_* ones return nothing when it is absent and throw when it is of another kind.
  bool has(std::string_view key) const;
  const GgufValue* value(std::string_view key) const;  // null when absent
  std::uint64_t get_u64(std::string_view key) const;   // any integer kind that is not negative
  double get_f64(std::string_view key) const;          // any number
  const std::string& get_string(std::string_view key) const;
  const std::vector<std::string>& get_strings(std::string_view key) const;
  std::optional<std::uint64_t> find_u64(std::string_view key) const;
  std::optional<double> find_f64(std::string_view key) const;
  std::optional<bool> find_bool(std::string_view key) const;
  const std::string* find_string(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> find_ints(
      std::string_view key) const;  // any integer array
  std::optional<std::vector<double>> find_floats(std::string_view key) const;
  std::optional<std::vector<bool>> find_bools(std::string_view key) const;
  // Keys in file order.
  std::span<const std::pair<std::string, GgufValue>> metadata() const { return metadata_; }
  // The value of the index-th key as it stands in the file, its type first: for copying it exactly.
  std::span<const std::byte> encoded_value(std::size_t index) const { return encoded_[index]; }

  // Tensors, in file order.
  std::span<const GgufTensor> tensors() const { return tensors_; }
  const GgufTensor* find_tensor(std::string_view name) const;
  // Throws FileError when it is absent or its shape is another.
  const GgufTensor& get_tensor(std::string_view name, std::span<const std::int64_t> shape) const;

 private:
  GgufFile() = default;
  [[noreturn]] void fail_kind(std::string_view key, std::string_view expected) const;
  template <class Kind>
  const Kind* find_kind(std::string_view key, std::string_view expected) const;  // null when absent
  [[noreturn]] void fail_absent(std::string_view key, std::string_view expected) const;

  std::filesystem::path path_;
  std::shared_ptr<const MappedFile> file_;
  std::vector<std::pair<std::string, GgufValue>> metadata_;
  std::vector<std::span<const std::byte>> encoded_;  // of the same length
  std::vector<GgufTensor> tensors_;
  // Positions in the two lists above, sorted by name: lookups stay logarithmic whatever the names are.
  std::vector<std::size_t> metadata_order_;
  std::vector<std::size_t> tensor_order_;
};

}  // namespace l2a
