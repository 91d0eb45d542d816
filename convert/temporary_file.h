// An output file that appears under its name only when it is complete.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace l2a {

// Writes to a new file of an unused name in the target's folder. commit() renames it to the target;
// without it the destructor removes it. Every failure throws FileError naming the target.
class TemporaryFile {
 public:
  // Throws when the folder is missing or not writable, or the target exists and is not a regular
  // file. `shown` names the file in messages where its folder is to be renamed too.
  explicit TemporaryFile(std::filesystem::path target, const std::filesystem::path& shown = {});
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& name() const { return name_; }  // in messages
  std::uint64_t size() const { return size_; }       // bytes appended

  void write(std::span<const std::byte> bytes);  // appends
  void overwrite(std::uint64_t offset,
                 std::span<const std::byte> bytes);  // inside what was appended
  void commit();                                     // to disk, then renamed

 private:
  void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
  [[noreturn]] void fail(const char* action) const;

  std::filesystem::path target_;
  std::string name_;
  std::filesystem::path path_;
  std::uint64_t size_ = 0;
  int fd_ = -1;
  std::size_t slot_ = 0;
};

// Removes the temporary files that exist now. Only calls what a signal handler may call; the
// program is to exit right after: nothing can create one any more.
void remove_temporary_files() noexcept;

}  // namespace l2a
