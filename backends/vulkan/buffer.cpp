#include "backends/vulkan/buffer.h"

#include <algorithm>
#include <vector>

#include "backends/vulkan/recorder.h"
#include "graph/error.h"

namespace l2a::vulkan {

VulkanBuffer::VulkanBuffer(Backend& backend, std::shared_ptr<Shared> shared, std::size_t bytes)
    : Buffer(bytes),
      backend_(backend),
      shared_(std::move(shared)),
      memory_(shared_->device, bytes, Memory::Kind::device) {}

void VulkanBuffer::upload(std::size_t offset, std::span<const std::byte> from) {
  check(offset, from.size());
  const std::lock_guard lock(shared_->splitting);
  if (split_.empty()) {
    shared_->transfers.upload(memory_, offset, from);
    return;
  }
  const auto [begin, end] = split_.whole_rows(offset, offset + from.size());
  std::vector<std::byte> rows(end - begin);
  shared_->transfers.download(memory_, begin, rows);
  split_.join(begin, rows);
  std::copy(from.begin(), from.end(), rows.begin() + static_cast<std::ptrdiff_t>(offset - begin));
  split_.split(begin, rows);
  shared_->transfers.upload(memory_, begin, rows);
}

void VulkanBuffer::download(std::size_t offset, std::span<std::byte> to) const {
  check(offset, to.size());
  const std::lock_guard lock(shared_->splitting);
  if (split_.empty()) {
    shared_->transfers.download(memory_, offset, to);
    return;
  }
  const auto [begin, end] = split_.whole_rows(offset, offset + to.size());
  std::vector<std::byte> rows(end - begin);
  shared_->transfers.download(memory_, begin, rows);
  split_.join(begin, rows);
  std::copy_n(rows.begin() + static_cast<std::ptrdiff_t>(offset - begin), to.size(), to.begin());
}

void VulkanBuffer::check(std::size_t offset, std::size_t count) const {
  if (offset > bytes() || count > bytes() - offset) {
    throw Error(concat("a copy of ", count, " bytes at ", offset, " leaves a buffer of ", bytes()));
  }
}

void split_weights(Shared& shared, const Graph& graph, std::span<const NodeId> nodes,
                   std::span<const Binding> bindings) {
  const std::lock_guard lock(shared.splitting);
  Recorder recorder(shared.device, shared.pipelines, {});
  recorder.begin();
  bool any = false;
  for (const NodeId node : nodes) {
    for (const ValueId input : graph.node(node).inputs) {
      if (input == kNoValue || !rows_split(*shared.device, graph, input)) continue;
      const ValueId root = graph.root(input);
      const Binding& binding = bindings[static_cast<std::size_t>(root)];
      auto& buffer = static_cast<VulkanBuffer&>(*binding.buffer);
      const Shape& shape = graph.value(root).info.shape;
      const std::size_t row_bytes = dtype_bytes(Dtype::q8_0, shape.back());
      const std::size_t rows = graph.root_bytes(root) / row_bytes;
      if (!splits_what_it_reads(graph.node(node))) {
        if (!buffer.split_.overlap(binding.offset, binding.offset + rows * row_bytes)) continue;
        throw Error(concat("vulkan: ", graph.node(node).op->name(), " reads ",
                           graph.value(root).name, ", whose rows were split for another op"));
      }
      if (!buffer.split_.add(binding.offset, row_bytes, rows)) continue;
      struct {
        VkDeviceAddress weights;
        std::uint32_t rows, unused;
      } push{buffer.address() + binding.offset, static_cast<std::uint32_t>(rows), 0};
      recorder.dispatch("split_rows", shared.device->tuning().workgroup,
                        {static_cast<std::uint32_t>(shape.back() / 32)}, push, {.x = push.rows});
      any = true;
    }
  }
  recorder.end();
  if (any) shared.device->submit_and_wait(recorder.commands());
}

}  // namespace l2a::vulkan
