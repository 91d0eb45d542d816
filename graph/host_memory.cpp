#include "graph/host_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "graph/error.h"

namespace l2a {
namespace {

class HostBuffer : public Buffer {
 public:
  HostBuffer(Backend& backend, std::byte* data, std::size_t bytes)
      : Buffer(bytes), backend_(backend), data_(data) {}

  Backend& backend() const override { return backend_; }
  std::byte* host() const override { return data_; }

  void upload(std::size_t offset, std::span<const std::byte> from) override {
    check(offset, from.size());
    std::memcpy(data_ + offset, from.data(), from.size());
  }
  void download(std::size_t offset, std::span<std::byte> to) const override {
    check(offset, to.size());
    std::memcpy(to.data(), data_ + offset, to.size());
  }

 private:
  void check(std::size_t offset, std::size_t count) const {
    if (offset > bytes() || count > bytes() - offset) {
      throw Error(
          concat("a copy of ", count, " bytes at ", offset, " leaves a buffer of ", bytes()));
    }
  }
  Backend& backend_;
  std::byte* data_;
};

class AllocatedBuffer final : public HostBuffer {
 public:
  using HostBuffer::HostBuffer;
  ~AllocatedBuffer() override { munmap(host(), bytes()); }
};

class ImportedBuffer final : public HostBuffer {
 public:
  ImportedBuffer(Backend& backend, std::span<const std::byte> data,
                 std::shared_ptr<const void> owner)
      : HostBuffer(backend, const_cast<std::byte*>(data.data()), data.size()),
        owner_(std::move(owner)) {}

  void upload(std::size_t /*offset*/, std::span<const std::byte> /*from*/) override {
    throw Error("imported memory is read-only");
  }

 private:
  std::shared_ptr<const void> owner_;
};

}  // namespace

void prefer_large_pages([[maybe_unused]] std::span<std::byte> memory) {
#if defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t kPage = std::uintptr_t{2} << 20;
  // Only whole large pages: with less, small pages suit.
  const auto start = reinterpret_cast<std::uintptr_t>(memory.data());
  const std::uintptr_t begin = (start + kPage - 1) / kPage * kPage;
  const std::uintptr_t end = (start + memory.size()) / kPage * kPage;
  if (begin < end) ::madvise(memory.data() + (begin - start), end - begin, MADV_HUGEPAGE);
#endif
}

std::shared_ptr<Buffer> HostBackend::allocate(std::size_t bytes) {
  if (bytes == 0) bytes = 1;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) {
    throw Error(concat(name(), ": cannot allocate ", bytes, " bytes: ", std::strerror(errno)));
  }
  prefer_large_pages({static_cast<std::byte*>(data), bytes});
  return std::make_shared<AllocatedBuffer>(*this, static_cast<std::byte*>(data), bytes);
}

std::shared_ptr<Buffer> HostBackend::import(std::span<const std::byte> bytes,
                                            std::shared_ptr<const void> owner) {
  return std::make_shared<ImportedBuffer>(*this, bytes, std::move(owner));
}

}  // namespace l2a
