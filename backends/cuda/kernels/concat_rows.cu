// Rows of several tensors one below the other: whole parts are copied, so that rows do not matter. A launch takes up to
// kParts of them, whose addresses travel as its argument; blockIdx.y is the part. Bound by memory, but a part is a row
// of some kilobytes: what counts is that all of them are one launch.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/concat_rows.h"

namespace l2a::cuda {
namespace {

constexpr int kParts = 64, kThreads = 256;

struct Parts {
  const float* from[kParts];
  std::int64_t
      begin[kParts + 1];  // where each goes in the result, in elements, and where the last ends
};

__global__ void concat_rows(Parts parts, float* out) {
  const unsigned part = blockIdx.y;
  const float* from = parts.from[part];
  float* to = out + parts.begin[part];
  const std::int64_t count = parts.begin[part + 1] - parts.begin[part];
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += step)
    to[i] = from[i];
}

void run(const CudaCall& call) {
  std::int64_t at = 0;
  for (std::size_t first = 0; first < call.inputs.size(); first += kParts) {
    const std::size_t count = std::min<std::size_t>(kParts, call.inputs.size() - first);
    Parts parts{};
    std::int64_t largest = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const TensorView& part = call.inputs[first + i];
      parts.from[i] = reinterpret_cast<const float*>(part.data);
      parts.begin[i] = at;
      at += part.shape.elements();
      parts.begin[i + 1] = at;
      largest = std::max(largest, part.shape.elements());
    }
    const dim3 grid(blocks_for(largest, kThreads, 1024), static_cast<unsigned>(count));
    concat_rows<<<grid, kThreads, 0, call.stream>>>(parts, call.out<float>());
    check_launch("concat_rows");
  }
}

}  // namespace

const CudaKernel kConcatRows = {ConcatRows::kName, run};

}  // namespace l2a::cuda
