// Rows of a table by index, as f32. A block a token, a thread eight values; bound by memory: the rows that are asked for.
#include "backends/cuda/kernels/blocks.cuh"
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/row_lookup.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 256;

template <Dtype dtype>
__global__ void lookup_blocks(const std::uint8_t* table, const std::int32_t* ids, float* out,
                              int width) {
  using Format = Blocks<dtype>;
  const std::int64_t row_bytes =
      static_cast<std::int64_t>(width / Format::kElements) * Format::kBytes;
  const std::uint8_t* row = table + ids[blockIdx.x] * row_bytes;
  float* to = out + static_cast<std::int64_t>(blockIdx.x) * width;
  for (int g = static_cast<int>(threadIdx.x); g < width / 8; g += kThreads) {
    constexpr int kGroups = Format::kElements / 8;
    float values[8];
    Format::eight(row + static_cast<std::int64_t>(g / kGroups) * Format::kBytes, g % kGroups,
                  values);
    for (int j = 0; j < 8; ++j) to[8 * g + j] = values[j];
  }
}

template <class T>
__global__ void lookup_floats(const T* table, const std::int32_t* ids, float* out, int width) {
  const T* row = table + static_cast<std::int64_t>(ids[blockIdx.x]) * width;
  float* to = out + static_cast<std::int64_t>(blockIdx.x) * width;
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads) to[i] = to_float(row[i]);
}

template <Dtype dtype>
void blocks(const CudaCall& call, unsigned tokens, int width) {
  lookup_blocks<dtype><<<tokens, kThreads, 0, call.stream>>>(
      call.in<std::uint8_t>(RowLookup::kTable), call.in<std::int32_t>(RowLookup::kIds),
      call.out<float>(), width);
}

template <class T>
void floats(const CudaCall& call, unsigned tokens, int width) {
  lookup_floats<<<tokens, kThreads, 0, call.stream>>>(call.in<T>(RowLookup::kTable),
                                                      call.in<std::int32_t>(RowLookup::kIds),
                                                      call.out<float>(), width);
}

void run(const CudaCall& call) {
  const auto tokens = static_cast<unsigned>(call.output.shape[0]);
  const int width = static_cast<int>(call.output.shape[1]);
  switch (call.inputs[RowLookup::kTable].dtype) {
    case Dtype::f32:
      floats<float>(call, tokens, width);
      break;
    case Dtype::f16:
      floats<__half>(call, tokens, width);
      break;
    case Dtype::bf16:
      floats<__nv_bfloat16>(call, tokens, width);
      break;
    case Dtype::q4_0:
      blocks<Dtype::q4_0>(call, tokens, width);
      break;
    case Dtype::q4_1:
      blocks<Dtype::q4_1>(call, tokens, width);
      break;
    case Dtype::q5_0:
      blocks<Dtype::q5_0>(call, tokens, width);
      break;
    case Dtype::q5_1:
      blocks<Dtype::q5_1>(call, tokens, width);
      break;
    case Dtype::q8_0:
      blocks<Dtype::q8_0>(call, tokens, width);
      break;
    case Dtype::q4_k:
      blocks<Dtype::q4_k>(call, tokens, width);
      break;
    case Dtype::q5_k:
      blocks<Dtype::q5_k>(call, tokens, width);
      break;
    case Dtype::q6_k:
      blocks<Dtype::q6_k>(call, tokens, width);
      break;
    case Dtype::i32:
      break;  // the op allows none
  }
  check_launch("row_lookup");
}

}  // namespace

const CudaKernel kRowLookup = {RowLookup::kName, run};

}  // namespace l2a::cuda
