// Turns pairs of a head's elements by the angles of the row's token.
#include "ops/rope.h"

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/row_ops.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const TensorView &x = call.inputs[Rope::kX], &table = call.inputs[Rope::kTable];
  const TensorView& rows = call.inputs[Rope::kRows];
  const std::int64_t pairs = table.shape[1], heads = x.shape[1];
  const RopePairing pairing = call.attributes<Rope>().pairing;
  const std::int64_t count = active_rows(rows, x.shape[0]);
  call.pool.parallel_for(count, row_grain(x.strides[0]), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto* angles = table.row<const float>(token_of_row(rows, i));
      for (std::int64_t h = 0; h < heads; ++h)
        turn_head(call.simd, pairing, pairs, x.row<const float>(i, h), angles,
                  call.output.row<float>(i, h));
    }
  });
}

}  // namespace

const CpuKernel kRope = {Rope::kName, run};

}  // namespace l2a::cpu
