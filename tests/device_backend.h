// A device without a device: for what places, copies and splits.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "graph/backend.h"
#include "ops/reference_backend.h"

namespace l2a::test {

// A device in the eyes of the scheduler: its memory has no host address and it supports only some ops. What it
// runs, it runs by reference code.
class DeviceBuffer final : public Buffer {
 public:
  explicit DeviceBuffer(Backend& backend, std::shared_ptr<Buffer> memory)
      : Buffer(memory->bytes()), backend_(backend), memory_(std::move(memory)) {}
  Backend& backend() const override { return backend_; }
  std::byte* host() const override { return nullptr; }
  void upload(std::size_t offset, std::span<const std::byte> from) override {
    memory_->upload(offset, from);
  }
  void download(std::size_t offset, std::span<std::byte> to) const override {
    memory_->download(offset, to);
  }
  Buffer* memory() const { return memory_.get(); }

 private:
  Backend& backend_;
  std::shared_ptr<Buffer> memory_;
};

class DeviceBackend final : public Backend {
 public:
  explicit DeviceBackend(std::string_view unsupported) : unsupported_(unsupported) {}
  std::string_view name() const override { return "device"; }
  bool uses_host_memory() const override { return false; }
  bool supports(const Graph& /*graph*/, const Node& node) const override {
    return node.op->name() != unsupported_;
  }
  std::shared_ptr<Buffer> allocate(std::size_t bytes) override {
    return std::make_shared<DeviceBuffer>(*this, reference_->allocate(bytes));
  }
  std::shared_ptr<Buffer> import(std::span<const std::byte> bytes,
                                 std::shared_ptr<const void>) override {
    auto buffer = allocate(bytes.size());
    buffer->upload(0, bytes);
    return buffer;
  }
  std::unique_ptr<Executable> compile(const std::shared_ptr<const Graph>& graph,
                                      std::span<const NodeId> nodes,
                                      std::span<const Binding> bindings) override {
    std::vector<Binding> inner;
    for (Binding binding : bindings) {
      if (binding.buffer) {
        // A binding to memory of another backend is the fault this test exists for.
        auto* own = dynamic_cast<DeviceBuffer*>(binding.buffer);
        REQUIRE(own != nullptr);
        binding.buffer = own->memory();
      }
      inner.push_back(binding);
    }
    return reference_->compile(graph, nodes, inner);
  }

 private:
  std::string_view unsupported_;
  std::shared_ptr<Backend> reference_ = make_reference_backend();
};

}  // namespace l2a::test
