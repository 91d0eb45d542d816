// Rows of several tensors one below the other. The parts are short: they are copied by the calling thread.
#include "ops/concat_rows.h"

#include <cstring>

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const std::size_t bytes = dtype_bytes(Dtype::f32, call.output.shape[1]);
  std::int64_t to = 0;
  for (const TensorView& part : call.inputs) {
    for (std::int64_t t = 0; t < part.shape[0]; ++t)
      std::memcpy(call.output.row<std::byte>(to++), part.row<const std::byte>(t), bytes);
  }
}

}  // namespace

const CpuKernel kConcatRows = {ConcatRows::kName, run};

}  // namespace l2a::cpu
