// One addition a layer and run.
#include "ops/count_rows.h"

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  *call.output.row<std::int32_t>(call.attributes<CountRows>().index) +=
      *call.inputs[CountRows::kRows].row<const std::int32_t>(0);
}

}  // namespace

const CpuKernel kCountRows = {CountRows::kName, run};

}  // namespace l2a::cpu
