// Cosine and sine of each position's angles, reduced in double (ops/rope.h says why). A thread an angle, once a run for
// all layers: bound by double-precision arithmetic, some hundred operations an angle.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/rope.h"

namespace l2a::cuda {
namespace {

__global__ void rope_table(const std::int32_t* positions, const float* frequencies, float2* out,
                           int pairs, std::int64_t count, float factor) {
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
    const double angle =
        static_cast<double>(positions[i / pairs]) * static_cast<double>(frequencies[i % pairs]);
    double sine, cosine;
    sincos(angle, &sine, &cosine);
    out[i] = {static_cast<float>(cosine) * factor, static_cast<float>(sine) * factor};
  }
}

void run(const CudaCall& call) {
  constexpr int kThreads = 128;
  const int pairs = static_cast<int>(call.output.shape[1]);
  const std::int64_t count = call.output.shape[0] * pairs;
  rope_table<<<blocks_for(count, kThreads), kThreads, 0, call.stream>>>(
      call.in<std::int32_t>(RopeTable::kPositions), call.in<float>(RopeTable::kFrequencies),
      call.out<float2>(), pairs, count, call.attributes<RopeTable>().factor);
  check_launch("rope_table");
}

}  // namespace

const CudaKernel kRopeTable = {RopeTable::kName, run};

}  // namespace l2a::cuda
