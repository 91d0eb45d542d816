// Writes keys or values of this run's tokens into a cache. A block a token. Where a ring holds fewer than come, a token
// whose slot a later one takes is left out, because blocks run in no order. A thread four values at a time where it
// can; bound by memory.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/kv_append.h"

namespace l2a::cuda {
namespace {

template <class From, class To, int each>
__global__ void kv_append(const From* x, To* cache, const std::int32_t* positions, int tokens,
                          int width, int capacity, int sinks) {
  const int ring = capacity - sinks;
  for (int t = static_cast<int>(blockIdx.x); t < tokens; t += static_cast<int>(gridDim.x)) {
    const int position = positions[t];
    if (position >= sinks && tokens - t > ring) continue;
    const int slot = position < sinks ? position : sinks + (position - sinks) % ring;
    const From* from = x + static_cast<std::int64_t>(t) * width;
    To* to = cache + static_cast<std::int64_t>(slot) * width;
    struct alignas(each * sizeof(From)) Read {
      From values[each];
    };
    struct alignas(each * sizeof(To)) Write {
      To values[each];
    };
    for (int i = static_cast<int>(threadIdx.x); i < width / each;
         i += static_cast<int>(blockDim.x)) {
      const Read read = reinterpret_cast<const Read*>(from)[i];
      Write write;
#pragma unroll
      for (int e = 0; e < each; ++e) write.values[e] = from_float<To>(to_float(read.values[e]));
      reinterpret_cast<Write*>(to)[i] = write;
    }
  }
}

template <class From, class To, int each>
void launch_each(const CudaCall& call) {
  const TensorView& x = call.inputs[KvAppend::kX];
  const int width = static_cast<int>(x.shape[1] * x.shape[2]);
  const int threads = std::min(1024, (width / each + 31) / 32 * 32);
  kv_append<From, To, each><<<blocks_for(x.shape[0], 1), threads, 0, call.stream>>>(
      call.in<From>(KvAppend::kX), call.out<To>(), call.in<std::int32_t>(KvAppend::kPositions),
      static_cast<int>(x.shape[0]), width, static_cast<int>(call.output.shape[0]),
      static_cast<int>(call.attributes<KvAppend>().sinks));
  check_launch("kv_append");
}

template <class From, class To>
void launch(const CudaCall& call) {
  constexpr int kEach = 4;
  const TensorView& x = call.inputs[KvAppend::kX];
  const bool whole =
      x.shape[1] * x.shape[2] % kEach == 0 && aligned16(x.data) && aligned16(call.output.data);
  whole ? launch_each<From, To, kEach>(call) : launch_each<From, To, 1>(call);
}

void run(const CudaCall& call) {
  const bool same = call.inputs[KvAppend::kX].dtype == call.output.dtype;
  switch (call.output.dtype) {
    case Dtype::f16:
      return same ? launch<__half, __half>(call) : launch<float, __half>(call);
    case Dtype::bf16:
      return same ? launch<__nv_bfloat16, __nv_bfloat16>(call) : launch<float, __nv_bfloat16>(call);
    default:
      return launch<float, float>(call);
  }
}

}  // namespace

const CudaKernel kKvAppend = {KvAppend::kName, run};

}  // namespace l2a::cuda
