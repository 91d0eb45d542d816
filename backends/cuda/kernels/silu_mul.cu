// silu(gate) * up. One thread an element; bound by memory: two reads and a write of four bytes.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/silu_mul.h"

namespace l2a::cuda {
namespace {

__global__ void silu_mul(const float* gate, const float* up, float* out, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    const float g = gate[i];
    out[i] = g / (1.0f + expf(-g)) * up[i];
  }
}

void run(const CudaCall& call) {
  constexpr int kThreads = 256;
  const std::int64_t count = call.output.shape.elements();
  silu_mul<<<blocks_for(count, kThreads), kThreads, 0, call.stream>>>(
      call.in<float>(SiluMul::kGate), call.in<float>(SiluMul::kUp), call.out<float>(), count);
  check_launch("silu_mul");
}

}  // namespace

const CudaKernel kSiluMul = {SiluMul::kName, run};

}  // namespace l2a::cuda
