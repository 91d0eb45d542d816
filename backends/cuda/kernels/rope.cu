// Turns queries or keys by the table of their tokens. A thread a pair; bound by memory: a read and a write of four bytes
// an element, and the table, which caches hold.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/rope.h"

namespace l2a::cuda {
namespace {

__global__ void rope(const float* x, const float2* table, float* out, int tokens, int heads,
                     int pairs, bool half, const std::int32_t* rows) {
  const std::int64_t width = static_cast<std::int64_t>(heads) * pairs;
  const std::int64_t count = active_rows(rows, tokens) * width;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
    const int row = static_cast<int>(i / width), pair = static_cast<int>(i % pairs);
    const float2 turn = table[static_cast<std::int64_t>(token_of(rows, row)) * pairs + pair];
    const std::int64_t head = i / pairs * pairs * 2;
    const std::int64_t first = head + (half ? pair : 2 * pair);
    const std::int64_t second = first + (half ? pairs : 1);
    const float a = x[first], b = x[second];
    out[first] = a * turn.x - b * turn.y;
    out[second] = b * turn.x + a * turn.y;
  }
}

void run(const CudaCall& call) {
  const TensorView& x = call.inputs[Rope::kX];
  constexpr int kThreads = 256;
  const int pairs = static_cast<int>(x.shape[2] / 2);
  rope<<<blocks_for(x.shape.elements() / 2, kThreads), kThreads, 0, call.stream>>>(
      call.in<float>(Rope::kX), call.in<float2>(Rope::kTable), call.out<float>(),
      static_cast<int>(x.shape[0]), static_cast<int>(x.shape[1]), pairs,
      call.attributes<Rope>().pairing == RopePairing::half, call.in<std::int32_t>(Rope::kRows));
  check_launch("rope");
}

}  // namespace

const CudaKernel kRope = {Rope::kName, run};

}  // namespace l2a::cuda
