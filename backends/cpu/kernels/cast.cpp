// Another float dtype, row by row; through f32 when neither side is f32.
#include "ops/cast.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

constexpr std::int64_t kPiece = 256;  // values widened on the stack at a time

void convert(const SimdKernels& simd, Dtype from, const std::byte* x, Dtype to, std::byte* y,
             std::int64_t count) {
  if (from == to) {
    std::memcpy(y, x, dtype_bytes(from, count));
  } else if (from == Dtype::f32) {
    simd.float_row(to).from_f32(count, reinterpret_cast<const float*>(x), y);
  } else if (to == Dtype::f32) {
    simd.float_row(from).to_f32(count, x, reinterpret_cast<float*>(y));
  } else {
    float wide[kPiece];
    for (std::int64_t i = 0; i < count; i += kPiece) {
      const std::int64_t n = std::min(kPiece, count - i);
      simd.float_row(from).to_f32(n, x + i * dtype_info(from).block_bytes, wide);
      simd.float_row(to).from_f32(n, wide, y + dtype_bytes(to, i));
    }
  }
}

void run(const CpuCall& call) {
  const TensorView& x = call.inputs[Cast::kX];
  const std::int64_t width = x.shape.elements() / x.shape[0];
  call.pool.parallel_for(x.shape[0], row_grain(width * 6),
                         [&](std::int64_t begin, std::int64_t end) {
                           for (std::int64_t t = begin; t < end; ++t) {
                             convert(call.simd, x.dtype, x.row<const std::byte>(t),
                                     call.output.dtype, call.output.row<std::byte>(t), width);
                           }
                         });
}

}  // namespace

const CpuKernel kCast = {Cast::kName, run};

}  // namespace l2a::cpu
