// Router logits in parallel over tokens, then one pass that lists the routed ones in order.
#include "ops/route.h"

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

std::size_t workspace_bytes(const CpuCall& call) {
  return static_cast<std::size_t>(call.inputs[Route::kX].shape[0]) * sizeof(float);
}

void run(const CpuCall& call) {
  const TensorView &x = call.inputs[Route::kX], &weight = call.inputs[Route::kWeight];
  const float bias =
      call.inputs[Route::kBias] ? *call.inputs[Route::kBias].row<const float>(0) : 0.0f;
  const float cut = call.attributes<Route>().cut;
  const std::int64_t tokens = x.shape[0], width = x.shape[1];
  auto* logits = reinterpret_cast<float*>(call.workspace);
  const FloatRow& kernel = call.simd.float_row(Dtype::f32);
  call.pool.parallel_for(tokens, row_grain(width * 4), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      logits[t] = kernel.dot(width, weight.row<const std::byte>(0), x.row<const float>(t)) + bias;
    }
  });
  auto* rows = call.output.row<std::int32_t>(0);
  std::int32_t count = 0;
  for (std::int64_t t = 0; t < tokens; ++t) {
    if (logits[t] >= cut) rows[1 + count++] = static_cast<std::int32_t>(t);
  }
  rows[0] = count;
}

}  // namespace

const CpuKernel kRoute = {Route::kName, run, workspace_bytes};

}  // namespace l2a::cpu
