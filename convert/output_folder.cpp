#include "convert/output_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "graph/error.h"

namespace l2a {
namespace {

// What a signal handler removes: files, and the folder last. Complete before it is published, and not changed after.
std::atomic<const std::vector<std::string>*> unfinished = nullptr;
static_assert(std::atomic<const std::vector<std::string>*>::is_always_lock_free);

}  // namespace

OutputFolder::OutputFolder(const std::filesystem::path& target,
                           const std::vector<std::string>& names)
    // "out/" names the folder "out".
    : target_(target.has_filename() ? target : target.parent_path()) {
  std::error_code error;
  if (std::filesystem::exists(target_, error) &&
      !(std::filesystem::is_directory(target_) && std::filesystem::is_empty(target_))) {
    throw FileError(
        concat(target_.string(), ": exists and is not an empty folder; it is left alone"));
  }
  static std::atomic<unsigned> counter = 0;
  path_ = target_.parent_path() / concat(".l2a-", ::getpid(), "-", counter.fetch_add(1), ".d.tmp");
  for (const std::string& name : names) files_.push_back(file(name).string());
  files_.push_back(path_.string());
  const std::vector<std::string>* none = nullptr;
  if (!unfinished.compare_exchange_strong(none, &files_)) {
    throw FileError(concat(target_.string(), ": another folder is being written"));
  }
  if (::mkdir(path_.c_str(), 0777) != 0) {
    const int reason = errno;
    unfinished = nullptr;
    throw FileError(concat(target_.string(), ": cannot be created: ", std::strerror(reason)));
  }
}

OutputFolder::~OutputFolder() {
  if (path_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  unfinished = nullptr;
}

void OutputFolder::commit() {
  if (::rename(path_.c_str(), target_.c_str()) != 0) {
    throw FileError(concat(target_.string(), ": cannot be put in place: ", std::strerror(errno)));
  }
  unfinished = nullptr;
  path_.clear();
}

void remove_output_folder() noexcept {
  const std::vector<std::string>* files = unfinished;
  if (files == nullptr) return;
  for (const std::string& file : *files) {
    if (&file != &files->back()) ::unlink(file.c_str());
  }
  ::rmdir(files->back().c_str());
}

}  // namespace l2a
