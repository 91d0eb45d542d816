// Memory of a device as the graph sees it.
#pragma once

#include "backends/cuda/handles.h"
#include "backends/cuda/transfer.h"
#include "graph/backend.h"

namespace l2a::cuda {

class DeviceBuffer final : public Buffer {
 public:
  DeviceBuffer(Backend& backend, int device, cudaStream_t stream, Transfer& transfer,
               std::size_t bytes);
  ~DeviceBuffer() override;

  Backend& backend() const override { return backend_; }
  std::byte* host() const override { return nullptr; }
  void upload(std::size_t offset, std::span<const std::byte> from) override;
  void download(std::size_t offset, std::span<std::byte> to) const override;

  std::byte* data() const { return static_cast<std::byte*>(memory_.get()); }

 private:
  Backend& backend_;
  int device_;
  cudaStream_t stream_;
  Transfer& transfer_;
  DeviceMemory memory_;
};

}  // namespace l2a::cuda
