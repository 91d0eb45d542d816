// y[t, n] = x[t, :] . w[n, :].
//
// One token is bound by reading the weights once, so rows of the weight are split over the threads and each is
// streamed through one dot product. Several tokens are bound by arithmetic: a tile of weight rows that fits the
// first-level cache is used for every token, four tokens at a time, so that each weight is unpacked once for four.
// For quantized weights the activations are quantized first (activation.h), in parallel over tokens.
#include "ops/matmul.h"

#include <algorithm>

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

constexpr std::int64_t kTileBytes =
    24 * 1024;  // of weights; leaves room for four activation rows in 32 KiB

bool quantized(const CpuCall& call) {
  return dtype_info(call.inputs[Matmul::kWeight].dtype).quantized;
}

std::size_t workspace_bytes(const CpuCall& call) {
  if (!quantized(call)) return 0;
  const Shape& x = call.inputs[Matmul::kX].shape;
  return activation_row_bytes(x[1]) * static_cast<std::size_t>(x[0]);
}

// Products of all tokens with weight rows [begin, end). `column(t)` is what the dot products take for token t.
template <class Dot, class Dot4, class Column>
void multiply(const CpuCall& call, std::int64_t tokens, std::int64_t begin, std::int64_t end,
              Dot dot, Dot4 dot4, Column column) {
  const TensorView& weight = call.inputs[Matmul::kWeight];
  const std::int64_t inner = weight.shape[1];
  const std::int64_t tile = std::max<std::int64_t>(kTileBytes / weight.strides[0], 1);
  using Columns = std::array<decltype(column(0)), 4>;
  for (std::int64_t first = begin; first < end; first += tile) {
    const std::int64_t last = std::min(first + tile, end);
    std::int64_t t = 0;
    for (; t + 4 <= tokens; t += 4) {
      const Columns columns = {column(t), column(t + 1), column(t + 2), column(t + 3)};
      for (std::int64_t n = first; n < last; ++n) {
        float sums[4];
        dot4(inner, weight.row<const std::byte>(n), columns.data(), sums);
        for (std::int64_t i = 0; i < 4; ++i) call.output.row<float>(t + i)[n] = sums[i];
      }
    }
    for (; t < tokens; ++t) {
      for (std::int64_t n = first; n < last; ++n) {
        call.output.row<float>(t)[n] = dot(inner, weight.row<const std::byte>(n), column(t));
      }
    }
  }
}

void run(const CpuCall& call) {
  const TensorView &x = call.inputs[Matmul::kX], &weight = call.inputs[Matmul::kWeight];
  const std::int64_t inner = weight.shape[1];
  const std::int64_t tokens = active_rows(call.inputs[Matmul::kRows], x.shape[0]);
  if (tokens == 0) return;
  const std::int64_t grain = std::max<std::int64_t>(row_grain(weight.strides[0] * tokens), 1);

  if (!quantized(call)) {
    const FloatRow& kernel = call.simd.float_row(weight.dtype);
    call.pool.parallel_for(weight.shape[0], grain, [&](std::int64_t begin, std::int64_t end) {
      multiply(call, tokens, begin, end, kernel.dot, kernel.dot4,
               [&](std::int64_t t) { return x.row<const float>(t); });
    });
    return;
  }
  const auto row_bytes = static_cast<std::int64_t>(activation_row_bytes(inner));
  auto activation = [&](std::int64_t t) {
    return activation_row(call.workspace + t * row_bytes, inner);
  };
  call.pool.parallel_for(tokens, row_grain(inner * 4), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      call.simd.quantize_activation_row(inner, x.row<const float>(t), activation(t));
    }
  });
  const QuantizedDot& kernel = call.simd.quantized_dot(weight.dtype);
  call.pool.parallel_for(weight.shape[0], grain, [&](std::int64_t begin, std::int64_t end) {
    multiply(call, tokens, begin, end, kernel.dot, kernel.dot4, activation);
  });
}

}  // namespace

const CpuKernel kMatmul = {Matmul::kName, run, workspace_bytes};

}  // namespace l2a::cpu
