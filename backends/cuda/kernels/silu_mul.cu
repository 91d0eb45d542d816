// silu(gate) * up. A thread four floats; bound by memory: two reads and a write of four bytes an element.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/silu_mul.h"

namespace l2a::cuda {
namespace {

__device__ float silu_times(float gate, float up) { return gate / (1.0f + expf(-gate)) * up; }
__device__ float4 silu_times(float4 gate, float4 up) {
  return {silu_times(gate.x, up.x), silu_times(gate.y, up.y), silu_times(gate.z, up.z),
          silu_times(gate.w, up.w)};
}

template <class Vector>
__global__ void silu_mul(const Vector* gate, const Vector* up, Vector* out, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step)
    out[i] = silu_times(gate[i], up[i]);
}

template <class Vector>
void launch(const CudaCall& call) {
  constexpr int kThreads = 256;
  const std::int64_t count =
      call.output.shape.elements() / static_cast<std::int64_t>(sizeof(Vector) / sizeof(float));
  silu_mul<Vector><<<blocks_for(count, kThreads), kThreads, 0, call.stream>>>(
      call.in<Vector>(SiluMul::kGate), call.in<Vector>(SiluMul::kUp), call.out<Vector>(), count);
  check_launch("silu_mul");
}

void run(const CudaCall& call) {
  const bool vectors = call.output.shape.elements() % 4 == 0 && aligned16(call.output.data) &&
                       aligned16(call.inputs[SiluMul::kGate].data) &&
                       aligned16(call.inputs[SiluMul::kUp].data);
  vectors ? launch<float4>(call) : launch<float>(call);
}

}  // namespace

const CudaKernel kSiluMul = {SiluMul::kName, run};

}  // namespace l2a::cuda
