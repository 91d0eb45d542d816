#include "models/verify.h"

#include <xxhash.h>

#include <mutex>

#include "graph/error.h"
#include "graph/thread_pool.h"
#include "models/gguf_format.h"
#include "models/quote.h"

namespace l2a {
namespace {

const std::vector<std::uint64_t>& checksums(const GgufFile& file) {
  const GgufValue* value = file.value(kTensorHashesKey);
  if (value == nullptr) {
    throw FileError(concat(file.path().string(), ": has no checksums (", kTensorHashesKey,
                           "), so its tensors cannot be verified"));
  }
  const auto* list = std::get_if<std::vector<std::uint64_t>>(value);
  if (list == nullptr || list->size() != file.tensors().size()) {
    throw FileError(concat(file.path().string(), ": ", kTensorHashesKey, " is not a list of ",
                           file.tensors().size(), " checksums, one for each tensor"));
  }
  return *list;
}

}  // namespace

std::vector<std::string> damaged_tensors(const GgufFile& file, int threads,
                                         const VerifyProgress& progress) {
  const std::vector<std::uint64_t>& expected = checksums(file);
  const auto tensors = file.tensors();
  std::uint64_t total = 0, done = 0;
  for (const GgufTensor& tensor : tensors) total += tensor.data.size();
  std::vector<char> differs(tensors.size());  // not bool: threads write neighbours
  std::mutex mutex;                           // guards progress and `done`
  ThreadPool pool(threads);
  pool.parallel_for(
      static_cast<std::int64_t>(tensors.size()), 1, [&](std::int64_t begin, std::int64_t end) {
        for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
          const GgufTensor& tensor = tensors[i];
          differs[i] = XXH3_64bits(tensor.data.data(), tensor.data.size()) != expected[i];
          const std::lock_guard lock(mutex);
          done += tensor.data.size();
          if (progress) progress(done, total, tensor.name);
        }
      });
  std::vector<std::string> damaged;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    if (differs[i] != 0) damaged.push_back(tensors[i].name);
  }
  return damaged;
}

void require_intact(const GgufFile& file, int threads, const VerifyProgress& progress) {
  const std::vector<std::string> damaged = damaged_tensors(file, threads, progress);
  if (damaged.empty()) return;
  throw FileError(concat(file.path().string(), ": the checksum of tensor ", quote(damaged.front()),
                         damaged.size() > 1 ? concat(" and ", damaged.size() - 1, " more") : "",
                         " does not match: the file is damaged"));
}

}  // namespace l2a
