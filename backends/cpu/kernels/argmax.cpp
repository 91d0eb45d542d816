// Largest value of each row: its value by vector maximum, then the first place it stands at.
#include "ops/argmax.h"

#include <algorithm>

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const TensorView& x = call.inputs[Argmax::kX];
  const std::int64_t width = x.shape[1];
  bool found_all = true;
  for (std::int64_t t = 0; t < x.shape[0]; ++t) {
    const float* row = x.row<const float>(t);
    const float* place = std::find(row, row + width, call.simd.max(width, row));
    found_all = found_all && place != row + width;
    *call.output.row<std::int32_t>(t) = static_cast<std::int32_t>(place - row);
  }
  // A NaN may have come out as the maximum: let the plain code, which passes over NaNs, decide.
  if (!found_all) call.op.reference(call.inputs, call.output);
}

}  // namespace

const CpuKernel kArgmax = {Argmax::kName, run};

}  // namespace l2a::cpu
