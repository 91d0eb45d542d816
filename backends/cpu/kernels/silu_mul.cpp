// silu(gate) * up: the exponential is vectorized, the rest is memory.
#include "ops/silu_mul.h"

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const std::int64_t width = call.output.shape[1];
  call.pool.parallel_for(
      call.output.shape[0], row_grain(width * 12), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
          call.simd.silu_mul(width, call.inputs[SiluMul::kGate].row<const float>(t),
                             call.inputs[SiluMul::kUp].row<const float>(t),
                             call.output.row<float>(t));
        }
      });
}

}  // namespace

const CpuKernel kSiluMul = {SiluMul::kName, run};

}  // namespace l2a::cpu
