#include "convert/temporary_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "graph/error.h"

namespace l2a {
namespace {

// Paths of the files that exist now, where a signal handler can read them: fixed storage, no locks.
struct Slot {
  std::atomic<bool> claimed = false;   // by a TemporaryFile, which alone writes the path
  std::atomic<bool> occupied = false;  // the path is complete and the file is there
  std::array<char, 4096> path{};
};
std::array<Slot, 16> slots;
static_assert(std::atomic<bool>::is_always_lock_free);

// Held by who creates a file, and by a signal handler from when it removes files to the end of the process.
std::atomic<bool> creating = false;

void lock_creation() {
  while (creating.exchange(true)) {
  }
}

// While it lives, no signal finds a file that was created but not yet entered in a slot: a handler on this thread
// would wait for itself, so signals are blocked; one on another thread waits.
class Creation {
 public:
  Creation() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
    lock_creation();
  }
  ~Creation() {
    creating = false;
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  Creation(const Creation&) = delete;
  Creation& operator=(const Creation&) = delete;

 private:
  sigset_t before_{};
};

std::size_t claim_slot(const std::string& name) {
  for (std::size_t i = 0; i < slots.size(); ++i) {
    if (!slots[i].claimed.exchange(true)) {
      return i;
    }
  }
  throw FileError(concat(name, ": more than ", slots.size(), " files are being written"));
}

void release_slot(std::size_t slot) {
  slots[slot].occupied = false;
  slots[slot].claimed = false;
}

std::filesystem::path unused_name(const std::filesystem::path& folder) {
  static std::atomic<unsigned> counter = 0;
  return folder / concat(".l2a-", ::getpid(), "-", counter.fetch_add(1), ".tmp");
}

}  // namespace

TemporaryFile::TemporaryFile(std::filesystem::path target, const std::filesystem::path& shown)
    : target_(std::move(target)), name_((shown.empty() ? target_ : shown).string()) {
  struct stat status {};
  if (::stat(target_.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    throw FileError(concat(name_, ": exists and is not a regular file; it is left alone"));
  }
  slot_ = claim_slot(name_);
  const Creation creation;
  do {
    path_ = unused_name(target_.parent_path());
    if (path_.native().size() >= slots[slot_].path.size()) {
      errno = ENAMETOOLONG;
      break;
    }
    fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (fd_ < 0 && errno == EEXIST);
  if (fd_ < 0) {
    const int error = errno;
    release_slot(slot_);
    errno = error;
    fail("cannot be created");
  }
  std::memcpy(slots[slot_].path.data(), path_.c_str(), path_.native().size() + 1);
  slots[slot_].occupied = true;
}

TemporaryFile::~TemporaryFile() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
  if (!path_.empty()) {
    ::unlink(path_.c_str());
    release_slot(slot_);
  }
}

void TemporaryFile::fail(const char* action) const {
  throw FileError(concat(name_, ": ", action, ": ", std::strerror(errno)));
}

void TemporaryFile::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      if (written == 0) {
        errno = ENOSPC;
      }
      fail("cannot be written");
    }
    bytes = bytes.subspan(static_cast<std::size_t>(written));
    offset += static_cast<std::uint64_t>(written);
  }
}

void TemporaryFile::write(std::span<const std::byte> bytes) {
  write_at(size_, bytes);
  size_ += bytes.size();
}

void TemporaryFile::overwrite(std::uint64_t offset, std::span<const std::byte> bytes) {
  if (offset > size_ || bytes.size() > size_ - offset) {
    throw FileError(concat(name_, ": bytes that were not written cannot be replaced"));
  }
  write_at(offset, bytes);
}

void TemporaryFile::commit() {
  if (::fsync(fd_) != 0) {
    fail("cannot be written to disk");
  }
  if (::close(std::exchange(fd_, -1)) != 0) {
    fail("cannot be closed");
  }
  if (::rename(path_.c_str(), target_.c_str()) != 0) {
    fail("cannot be put in place");
  }
  path_.clear();
  release_slot(slot_);
}

void remove_temporary_files() noexcept {
  lock_creation();
  for (const Slot& slot : slots) {
    if (slot.occupied) {
      ::unlink(slot.path.data());
    }
  }
}

}  // namespace l2a
