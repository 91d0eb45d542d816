#include "models/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <limits>

#include "graph/error.h"

namespace l2a {
namespace {

class Descriptor {
 public:
  // O_NONBLOCK: opening a pipe that nobody writes must fail below, not wait.
  explicit Descriptor(const std::filesystem::path& path)
      : fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~Descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::filesystem::path& path) {
  const Descriptor file(path);
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) {
    throw FileError(concat(path.string(), ": cannot be opened: ", std::strerror(errno)));
  }
  if (!S_ISREG(status.st_mode)) {
    const char* kind = S_ISDIR(status.st_mode) ? "a directory" : "not a regular file";
    throw FileError(concat(path.string(), ": is ", kind, "; a file was expected"));
  }
  std::shared_ptr<MappedFile> mapped(new MappedFile);
  const auto size = static_cast<std::uintmax_t>(status.st_size);
  if (size > std::numeric_limits<std::size_t>::max()) {
    throw FileError(concat(path.string(), ": is too large to map (", size, " bytes)"));
  }
  if (size == 0) {
    return mapped;
  }
  const auto length = static_cast<std::size_t>(size);
  void* start = ::mmap(nullptr, length, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (start == MAP_FAILED) {
    throw FileError(concat(path.string(), ": cannot be mapped: ", std::strerror(errno)));
  }
  mapped->bytes_ = {static_cast<const std::byte*>(start), length};
  return mapped;
}

void MappedFile::release(std::span<const std::byte> part) {
  // Mappings start on a page. Pages that are shared with a neighbour stay.
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<std::uintptr_t>(part.data());
  const std::uintptr_t begin = (start + page - 1) / page * page;
  const std::uintptr_t end = (start + part.size()) / page * page;
  if (begin < end) {
    // Advice: that it cannot be taken is no error.
    ::madvise(const_cast<std::byte*>(part.data()) + (begin - start), end - begin, MADV_DONTNEED);
  }
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) {
    ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
  }
}

}  // namespace l2a
