// Between f32, f16 and bf16, to nearest, plain copies, and to q8_0. One thread an element; bound by memory.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "backends/cuda/kernels/q8_block.cuh"
#include "ops/cast.h"

namespace l2a::cuda {
namespace {

template <class From, class To>
__global__ void cast_values(const From* from, To* to, std::int64_t count) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += step) {
    to[i] = from_float<To>(to_float(from[i]));
  }
}

// Warps take blocks of 32.
template <class From>
__global__ void cast_blocks(const From* from, std::uint8_t* to, std::int64_t count) {
  const std::int64_t warps = static_cast<std::int64_t>(gridDim.x) * (blockDim.x / 32);
  for (std::int64_t b =
           static_cast<std::int64_t>(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32;
       b < count / 32; b += warps)
    store_q8_0(to_float(from[32 * b + threadIdx.x % 32]), to + b * sizeof(BlockQ8_0));
}

template <class From>
void launch_blocks(const CudaCall& call) {
  constexpr int kThreads = 256;
  const std::int64_t count = call.output.shape.elements();
  cast_blocks<<<blocks_for(count, kThreads), kThreads, 0, call.stream>>>(
      call.in<From>(Cast::kX), call.out<std::uint8_t>(), count);
  check_launch("cast");
}

template <class From, class To>
void launch(const CudaCall& call) {
  constexpr int kThreads = 256;
  const std::int64_t count = call.output.shape.elements();
  cast_values<<<blocks_for(count, kThreads), kThreads, 0, call.stream>>>(call.in<From>(Cast::kX),
                                                                         call.out<To>(), count);
  check_launch("cast");
}

template <class From>
void from(const CudaCall& call) {
  switch (call.output.dtype) {
    case Dtype::f16:
      return launch<From, __half>(call);
    case Dtype::bf16:
      return launch<From, __nv_bfloat16>(call);
    case Dtype::q8_0:
      return launch_blocks<From>(call);
    default:
      return launch<From, float>(call);
  }
}

void run(const CudaCall& call) {
  const Dtype dtype = call.inputs[Cast::kX].dtype;
  if (dtype == Dtype::f16) {
    from<__half>(call);
  } else if (dtype == Dtype::bf16) {
    from<__nv_bfloat16>(call);
  } else {
    from<float>(call);
  }
}

}  // namespace

const CudaKernel kCast = {Cast::kName, run};

}  // namespace l2a::cuda
