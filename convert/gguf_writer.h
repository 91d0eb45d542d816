// Writes a GGUF v3 file front to back: metadata, then tensors, then their data in the order
// declared. The XXH3-64 of each tensor's bytes goes into `l2a.tensor_xxh3`, in the same order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/temporary_file.h"
#include "graph/dtype.h"
#include "models/gguf_format.h"

namespace l2a {

class GgufWriter {
 public:
  // Opens a temporary file beside `target`; see TemporaryFile for what that throws and leaves.
  explicit GgufWriter(std::filesystem::path target);
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  // 1. Metadata and tensors, in any order. Throws FileError for a key or tensor that was set
  // before.
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
  // `shape` outermost first, 1 to 4 positive extents.
  void add_tensor(std::string_view name, Dtype dtype, std::span<const std::int64_t> shape);

  std::size_t tensor_count() const { return tensors_.size(); }
  std::uint64_t data_bytes() const;  // of all tensors, without padding

  // 2. The bytes of the tensors, in the order declared and in pieces of any size. The first piece
  // writes the header. A piece may not reach past its tensor's end.
  void write(std::span<const std::byte> piece);

  // 3. Completes the file and renames it. Throws when bytes of a tensor are missing.
  void finish();
  std::uint64_t file_bytes() const { return file_.size(); }

 private:
  struct Tensor {
    std::string name;
    Dtype dtype;
    std::vector<std::int64_t> shape;
    std::uint64_t bytes;
  };
  struct Hash;  // XXH3 in progress

  void begin_value(std::string_view key, GgufType type);
  void begin_array(std::string_view key, GgufType element, std::size_t count);
  void write_header();
  void pad();

  TemporaryFile file_;
  std::string metadata_;  // as it will lie in the file
  std::vector<std::string> keys_;
  std::vector<Tensor> tensors_;
  bool header_written_ = false;
  std::uint64_t hashes_offset_ = 0;
  std::size_t current_ = 0;    // tensor being written
  std::uint64_t written_ = 0;  // bytes of it
  std::vector<std::uint64_t> hashes_;
  std::unique_ptr<Hash> hash_;
};

}  // namespace l2a
