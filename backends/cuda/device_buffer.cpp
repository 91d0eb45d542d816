#include "backends/cuda/device_buffer.h"

#include "graph/error.h"

namespace l2a::cuda {
namespace {

void check_range(std::size_t offset, std::size_t count, std::size_t bytes) {
  if (offset > bytes || count > bytes - offset) {
    throw Error(concat("a copy of ", count, " bytes at ", offset, " leaves a buffer of ", bytes));
  }
}

}  // namespace

DeviceBuffer::DeviceBuffer(Backend& backend, int device, cudaStream_t stream, Transfer& transfer,
                           std::size_t bytes)
    : Buffer(bytes),
      backend_(backend),
      device_(device),
      stream_(stream),
      transfer_(transfer),
      memory_(allocate_device(bytes)) {}

DeviceBuffer::~DeviceBuffer() {
  cudaSetDevice(device_);
  cudaStreamSynchronize(stream_);
}

void DeviceBuffer::upload(std::size_t offset, std::span<const std::byte> from) {
  check_range(offset, from.size(), bytes());
  check(cudaSetDevice(device_), "selecting the device");
  transfer_.upload(data() + offset, from);
}

void DeviceBuffer::download(std::size_t offset, std::span<std::byte> to) const {
  check_range(offset, to.size(), bytes());
  check(cudaSetDevice(device_), "selecting the device");
  transfer_.download(to, data() + offset);
}

}  // namespace l2a::cuda
