// Causal attention over a cache: backends/cpu/attention/.
#include "backends/cpu/attention/attention.h"

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& cpu_call) {
  const AttentionCall call(cpu_call);
  if (call.rows() <= few_rows(call) && has_whole_rows(call)) {
    attend_few_rows(call);
  } else if (has_tiles(call)) {
    attend_amx_rows(call);
  } else {
    attend_many_rows(call);
  }
}

std::size_t workspace_bytes(const CpuCall& cpu_call) {
  const AttentionCall call(cpu_call);
  return std::max(few_rows_workspace(call),
                  has_tiles(call) ? amx_rows_workspace(call) : many_rows_workspace(call));
}

}  // namespace

const CpuKernel kAttention = {Attention::kName, run, workspace_bytes};

}  // namespace l2a::cpu
