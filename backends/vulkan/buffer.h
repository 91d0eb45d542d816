// Buffers of this backend, and what they and its plans share.
#pragma once

#include <memory>
#include <mutex>

#include "backends/vulkan/memory.h"
#include "backends/vulkan/pipelines.h"
#include "backends/vulkan/split_rows.h"
#include "graph/backend.h"

namespace l2a::vulkan {

// What outlives the backend as long as a buffer or a plan does.
struct Shared {
  Shared(const std::shared_ptr<Device>& used, const std::string& cache_folder)
      : device(used), transfers(used), pipelines(used, cache_folder) {}
  std::shared_ptr<Device> device;
  Transfers transfers;
  Pipelines pipelines;
  std::mutex splitting;  // of rows, and copies of buffers that have such
};

class VulkanBuffer final : public Buffer {
 public:
  VulkanBuffer(Backend& backend, std::shared_ptr<Shared> shared, std::size_t bytes);

  Backend& backend() const override { return backend_; }
  std::byte* host() const override { return nullptr; }
  // Of split rows these are as if they were not.
  void upload(std::size_t offset, std::span<const std::byte> from) override;
  void download(std::size_t offset, std::span<std::byte> to) const override;
  void zero() { shared_->transfers.zero(memory_); }
  VkDeviceAddress address() const { return memory_.address(); }

 private:
  friend void split_weights(Shared&, const Graph&, std::span<const NodeId>,
                            std::span<const Binding>);
  void check(std::size_t offset, std::size_t count) const;

  Backend& backend_;
  std::shared_ptr<Shared> shared_;
  Memory memory_;
  SplitRows split_;
};

// Splits the rows of all weights that these nodes read and for which rows_split() holds, where that was not done before.
void split_weights(Shared& shared, const Graph& graph, std::span<const NodeId> nodes,
                   std::span<const Binding> bindings);

}  // namespace l2a::vulkan
