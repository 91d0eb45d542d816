// Turns pairs of a head's elements by the angles of the row's token.
#include "ops/rope.h"

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

// `Step` and `apart` place the pairs: (p, p + D/2) or (2p, 2p + 1).
template <std::int64_t Step>
void turn(const float* from, float* to, const float* table, std::int64_t pairs,
          std::int64_t apart) {
  for (std::int64_t p = 0; p < pairs; ++p) {
    const float cosine = table[2 * p], sine = table[2 * p + 1];
    const float a = from[p * Step], b = from[p * Step + apart];
    to[p * Step] = a * cosine - b * sine;
    to[p * Step + apart] = b * cosine + a * sine;
  }
}

void run(const CpuCall& call) {
  const TensorView &x = call.inputs[Rope::kX], &table = call.inputs[Rope::kTable];
  const TensorView& rows = call.inputs[Rope::kRows];
  const std::int64_t pairs = table.shape[1], heads = x.shape[1];
  const bool half = call.attributes<Rope>().pairing == RopePairing::half;
  const std::int64_t count = active_rows(rows, x.shape[0]);
  call.pool.parallel_for(count, row_grain(x.strides[0]), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto* angles = table.row<const float>(token_of_row(rows, i));
      for (std::int64_t h = 0; h < heads; ++h) {
        const float* from = x.row<const float>(i, h);
        float* to = call.output.row<float>(i, h);
        if (half) {
          turn<1>(from, to, angles, pairs, pairs);
        } else {
          turn<2>(from, to, angles, pairs, 1);
        }
      }
    }
  });
}

}  // namespace

const CpuKernel kRope = {Rope::kName, run};

}  // namespace l2a::cpu
