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

#include "convert/gguf_metadata.h"
#include "convert/temporary_file.h"
#include "graph/dtype.h"

namespace l2a {

class GgufWriter {
 public:
  // Opens a temporary file beside `target`; see TemporaryFile for what that throws and leaves.
  GgufWriter(std::filesystem::path target, GgufMetadata metadata);
  ~GgufWriter();
  GgufWriter(const GgufWriter&) = delete;
  GgufWriter& operator=(const GgufWriter&) = delete;

  // 1. The tensors. Throws FileError for a name that was declared before.
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

  void write_header();
  void pad();

  TemporaryFile file_;
  GgufMetadata metadata_;
  std::vector<Tensor> tensors_;
  bool header_written_ = false;
  std::uint64_t hashes_offset_ = 0;
  std::size_t current_ = 0;    // tensor being written
  std::uint64_t written_ = 0;  // bytes of it
  std::vector<std::uint64_t> hashes_;
  std::unique_ptr<Hash> hash_;
};

}  // namespace l2a
