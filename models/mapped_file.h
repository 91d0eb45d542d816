// A whole file mapped into memory, read only.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace l2a {

class MappedFile {
 public:
  // Throws FileError when the path is missing, unreadable, or not a regular file. An empty file has
  // no bytes.
  static std::shared_ptr<const MappedFile> open(const std::filesystem::path& path);

  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Starts on a page boundary; valid while this object lives.
  std::span<const std::byte> bytes() const { return bytes_; }

  // Gives back the memory of the pages inside `part` of some mapped file: for who reads a file once, so that it does
  // not hold more and more of it. The bytes stay readable; they would come from the file again.
  static void release(std::span<const std::byte> part);

 private:
  MappedFile() = default;

  std::span<const std::byte> bytes_;
};

}  // namespace l2a
