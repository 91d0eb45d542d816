// tally[index] += the count of a Rows. One thread.
#include "backends/cuda/kernels/kernels.h"
#include "ops/count_rows.h"

namespace l2a::cuda {
namespace {

__global__ void count_rows(std::int32_t* tally, const std::int32_t* rows) { *tally += rows[0]; }

void run(const CudaCall& call) {
  count_rows<<<1, 1, 0, call.stream>>>(
      call.out<std::int32_t>() + call.attributes<CountRows>().index,
      call.in<std::int32_t>(CountRows::kRows));
  check_launch("count_rows");
}

}  // namespace

const CudaKernel kCountRows = {CountRows::kName, run};

}  // namespace l2a::cuda
