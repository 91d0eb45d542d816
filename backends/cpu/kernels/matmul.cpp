#include "ops/matmul.h"

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/products.h"

namespace l2a::cpu {
namespace {

Products products_of(const CpuCall& call) {
  Products one;
  one.x = call.inputs[Matmul::kX];
  one.rows = call.inputs[Matmul::kRows];
  one.each[0] = {call.inputs[Matmul::kWeight], call.output};
  return one;
}

std::size_t workspace_bytes(const CpuCall& call) {
  return products_bytes(products_of(call), call.pool, call.simd);
}

void run(const CpuCall& call) {
  run_products(products_of(call), call.pool, call.simd, call.workspace);
}

}  // namespace

const CpuKernel kMatmul = {Matmul::kName, run, workspace_bytes};

}  // namespace l2a::cpu
