// Reading memory as fast as it goes: every thread takes 16 bytes eight times over before it uses them. And tensor-core
// products as fast as they go, by the instruction that matmul and attention issue: wgmma on Hopper (hopper_limits.cu),
// elsewhere chains of mma.sync on registers alone.
#include <algorithm>

#include "backends/cuda/handles.h"
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/hopper_limits.h"
#include "backends/cuda/kernels/mma.cuh"
#include "backends/cuda/limits.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 512, kUnroll = 8, kRuns = 5;

__global__ void fill(uint4* memory, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    const auto x = static_cast<std::uint32_t>(i) * 2654435761u;
    memory[i] = {x, x ^ 0x9e3779b9u, x * 3, ~x};
  }
}

__global__ void __launch_bounds__(kThreads)
    read_all(const uint4* memory, std::int64_t count, std::uint32_t* out) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads * kUnroll;
  std::uint32_t mixed = 0;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads * kUnroll + threadIdx.x;
       i < count; i += step) {
    uint4 v[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
      const std::int64_t at = i + u * kThreads;
      v[u] = at < count ? __ldcs(memory + at) : uint4{};
    }
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) mixed ^= v[u].x ^ v[u].y ^ v[u].z ^ v[u].w;
  }
  if (mixed == 0x12345678u) *out = mixed;  // keeps the reads
}

constexpr int kChains = 8, kLinks = 4096, kMmaThreads = 256;

__global__ void __launch_bounds__(kMmaThreads) multiply(std::uint32_t seed, float* out) {
  const std::uint32_t x = 0x3c003800u ^ (seed + threadIdx.x * 0x00010003u);
  const std::uint32_t a[4] = {x, x ^ 0x01234567u, x ^ 0x00ff00ffu, x ^ 0x02000100u};
  float sums[kChains][4] = {};
  for (int link = 0; link < kLinks; ++link) {
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) mma<__half>(sums[chain], a, x + chain, x ^ chain);
  }
  float total = 0;
#pragma unroll
  for (const auto& sum : sums) total += sum[0] + sum[1] + sum[2] + sum[3];
  if (total == 12345.0f) *out = total;
}

// Seconds of the quickest of some runs.
template <class Launch>
double best_seconds(cudaStream_t stream, Launch launch) {
  const Event begin = make_event(cudaEventDefault), end = make_event(cudaEventDefault);
  double best = 0;
  for (int run = 0; run < kRuns; ++run) {
    check(cudaEventRecord(begin.get(), stream), "measuring limits");
    launch();
    check_launch("measuring limits");
    check(cudaEventRecord(end.get(), stream), "measuring limits");
    check(cudaEventSynchronize(end.get()), "measuring limits");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "measuring limits");
    const double seconds = 1e-3 * static_cast<double>(milliseconds);
    if (run == 0 || seconds < best) best = seconds;
  }
  return best;
}

}  // namespace

Limits measure_cuda_limits(const DeviceTraits& device, cudaStream_t stream) {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  const std::size_t bytes = std::min(std::size_t{2} << 30, free / 2) / 16 * 16;
  const DeviceMemory memory = allocate_device(bytes), out = allocate_device(16);
  const auto count = static_cast<std::int64_t>(bytes / 16);
  const auto blocks = static_cast<unsigned>(device.multiprocessors * 4);
  auto* words = static_cast<uint4*>(memory.get());
  fill<<<blocks, kThreads, 0, stream>>>(words, count);
  Limits limits;
  limits.read_bytes = static_cast<double>(bytes) / best_seconds(stream, [&] {
                        read_all<<<blocks, kThreads, 0, stream>>>(
                            words, count, static_cast<std::uint32_t*>(out.get()));
                      });
  auto* const result = static_cast<float*>(out.get());
  double operations =
      2.0 * 16 * 8 * 16 * device.multiprocessors * 2 * (kMmaThreads / 32) * kChains * kLinks;
  const double seconds = best_seconds(stream, [&] {
    if (device.hopper()) {
      operations = run_hopper_products(device, result, stream);
    } else {
      multiply<<<static_cast<unsigned>(device.multiprocessors * 2), kMmaThreads, 0, stream>>>(
          1, result);
    }
  });
  limits.float_operations = operations / seconds;
  limits.integer_operations = limits.float_operations;  // quantized weights are multiplied as f16
  limits.how =
      device.hopper() ? "reads of 16 bytes, wgmma on f16" : "reads of 16 bytes, mma.sync on f16";
  return limits;
}

}  // namespace l2a::cuda
