// The tensors of a checkpoint as bytes of a type, in slices over all cores: what every writer of models uses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "convert/checkpoint.h"
#include "graph/dtype.h"
#include "graph/thread_pool.h"

namespace l2a {

struct StreamOptions {
  int threads = 0;         // 0: one for each CPU that this process may use
  bool allow_nan = false;  // pass on NaN and infinities where the type can hold them
  // Called as data is written, with bytes of the output's tensor data.
  std::function<void(std::uint64_t done, std::uint64_t total, std::string_view tensor)> progress;
};

class TensorStream {
 public:
  using Sink = std::function<void(std::span<const std::byte>)>;

  // `origin` names the checkpoint in messages; `total` is what all tensors together will take.
  TensorStream(std::string origin, const StreamOptions& options, std::uint64_t total);

  // Hands the tensor's bytes in `dtype` to `sink`, front to back. Blocks that stay what they are are copied. Throws
  // FileError for values that are not finite or that the type cannot hold, and whatever reading and `sink` throw.
  void run(const SourceTensor& tensor, Dtype dtype, std::span<const float> importance,
           const Sink& sink);

 private:
  void put(const SourceTensor& tensor, std::span<const std::byte> bytes, const Sink& sink);
  void copy(const SourceTensor& tensor, const Sink& sink);
  void encode(const SourceTensor& tensor, Dtype dtype, std::span<const float> importance,
              const Sink& sink);
  void check(const SourceTensor& tensor, Dtype dtype, std::span<const float> values) const;

  std::string origin_;
  const StreamOptions& options_;
  std::uint64_t total_;
  std::uint64_t done_ = 0;
  ThreadPool pool_;
  std::vector<float> values_;
  std::vector<std::byte> encoded_;
  std::mutex failure_mutex_;
  std::exception_ptr failure_;
};

}  // namespace l2a
