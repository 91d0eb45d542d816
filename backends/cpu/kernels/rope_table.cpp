// Cosines and sines of a run's positions, once for all layers. Angles are reduced in double (ops/rope.h).
#include <cmath>

#include "backends/cpu/kernels/kernels.h"
#include "ops/rope.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const float* frequencies = call.inputs[RopeTable::kFrequencies].row<const float>(0);
  const float factor = call.attributes<RopeTable>().factor;
  const std::int64_t pairs = call.output.shape[1];
  // A sine costs about as much as copying a hundred bytes.
  call.pool.parallel_for(
      call.output.shape[0], row_grain(pairs * 200), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
          const double position = *call.inputs[RopeTable::kPositions].row<const std::int32_t>(t);
          float* to = call.output.row<float>(t);
          for (std::int64_t i = 0; i < pairs; ++i) {
            const double angle = position * static_cast<double>(frequencies[i]);
            to[2 * i] = static_cast<float>(std::cos(angle)) * factor;
            to[2 * i + 1] = static_cast<float>(std::sin(angle)) * factor;
          }
        }
      });
}

}  // namespace

const CpuKernel kRopeTable = {RopeTable::kName, run};

}  // namespace l2a::cpu
