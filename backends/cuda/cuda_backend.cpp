#include "backends/cuda/cuda_backend.h"

#include "backends/cuda/cuda_executable.h"
#include "backends/cuda/device_buffer.h"
#include "backends/cuda/kernel.h"
#include "backends/cuda/limits.h"
#include "graph/error.h"

namespace l2a {
namespace {

using cuda::check;

constexpr int kLowestMajor = 8;  // mma on bf16, cp.async

class CudaBackend final : public Backend {
 public:
  CudaBackend(int device, const cuda::DeviceTraits& traits)
      : device_(device), traits_(traits), stream_(cuda::make_stream()), transfer_(stream_.get()) {}

  std::string_view name() const override { return "cuda"; }
  bool uses_host_memory() const override { return false; }
  bool supports(const Graph& graph, const Node& node) const override {
    const cuda::CudaKernel* kernel = cuda::find_cuda_kernel(node.op->name());
    if (kernel == nullptr) return false;
    return kernel->supports == nullptr || kernel->supports(*node.op, graph.input_infos(node));
  }

  std::optional<MemoryRoom> room() const override {
    std::size_t free = 0, total = 0;
    check(cudaSetDevice(device_), "selecting the device");
    check(cudaMemGetInfo(&free, &total), "asking for the free memory");
    return MemoryRoom{free, free};
  }

  std::shared_ptr<Buffer> allocate(std::size_t bytes) override {
    auto buffer = make_buffer(bytes);
    check(cudaMemsetAsync(buffer->data(), 0, bytes, stream_.get()), "clearing memory");
    return buffer;
  }
  std::shared_ptr<Buffer> import(std::span<const std::byte> bytes,
                                 std::shared_ptr<const void> /*owner*/) override {
    auto buffer = make_buffer(bytes.size());
    buffer->upload(0, bytes);
    return buffer;
  }

  Limits measure_limits() override {
    check(cudaSetDevice(device_), "selecting the device");
    return cuda::measure_cuda_limits(traits_, stream_.get());
  }

  std::unique_ptr<Executable> compile(const std::shared_ptr<const Graph>& graph,
                                      std::span<const NodeId> nodes,
                                      std::span<const Binding> bindings) override {
    check(cudaSetDevice(device_), "selecting the device");
    return std::make_unique<cuda::CudaExecutable>(graph, nodes, bindings, device_, traits_,
                                                  stream_.get());
  }

 private:
  std::shared_ptr<cuda::DeviceBuffer> make_buffer(std::size_t bytes) {
    check(cudaSetDevice(device_), "selecting the device");
    return std::make_shared<cuda::DeviceBuffer>(*this, device_, stream_.get(), transfer_, bytes);
  }

  int device_;
  cuda::DeviceTraits traits_;
  cuda::Stream stream_;
  cuda::Transfer transfer_;
};

}  // namespace

std::vector<CudaDevice> list_cuda_devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    static_cast<void>(cudaGetLastError());
    return {};
  }
  std::vector<CudaDevice> devices;
  for (int i = 0; i < count; ++i) {
    cudaDeviceProp properties{};
    CudaDevice device;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess || cudaSetDevice(i) != cudaSuccess ||
        cudaMemGetInfo(&device.free_bytes, &device.total_bytes) != cudaSuccess) {
      static_cast<void>(cudaGetLastError());
      continue;
    }
    device.index = i;
    device.name = properties.name;
    device.major = properties.major;
    device.minor = properties.minor;
    device.multiprocessors = properties.multiProcessorCount;
    devices.push_back(std::move(device));
  }
  return devices;
}

std::shared_ptr<Backend> make_cuda_backend(const CudaOptions& options) {
  int count = 0;
  check(cudaGetDeviceCount(&count), "looking for a GPU");
  if (options.device < 0 || options.device >= count) {
    throw Error(concat("there is no CUDA device ", options.device, ": this machine has ", count));
  }
  check(cudaSetDevice(options.device), "opening the GPU");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, options.device), "asking the GPU what it is");
  if (properties.major < kLowestMajor) {
    throw Error(concat("the CUDA backend needs compute capability ", kLowestMajor, ".0; ",
                       properties.name, " has ", properties.major, ".", properties.minor));
  }
  cuda::DeviceTraits traits = cuda::traits_of(properties);
  traits.prefill = options.prefill;
  if (options.prefill == PrefillPrecision::int8 && !traits.hopper()) {
    throw Error(concat("prefill in int8 needs compute capability 9.0 and a build for 90a; ",
                       properties.name, " has ", properties.major, ".", properties.minor,
                       ": f16 is what it prefills in"));
  }
  return std::make_shared<CudaBackend>(options.device, traits);
}

}  // namespace l2a
