// Writes keys or values of this run's tokens into a cache. A block a token. Where a ring holds fewer than come, a token
// whose slot a later one takes is left out, because blocks run in no order. A thread four values at a time where it
// can; bound by memory.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "backends/cuda/kernels/q8_block.cuh"
#include "ops/kv_append.h"

namespace l2a::cuda {
namespace {

// The slot of a token, or -1 if a later one takes it.
__device__ int slot_of(const std::int32_t* positions, int token, int tokens, int capacity,
                       int sinks) {
  const int ring = capacity - sinks, position = positions[token];
  if (position >= sinks && tokens - token > ring) return -1;
  return position < sinks ? position : sinks + (position - sinks) % ring;
}

template <class From, class To, int each>
__global__ void kv_append(const From* x, To* cache, const std::int32_t* positions, int tokens,
                          int width, int capacity, int sinks) {
  for (int t = static_cast<int>(blockIdx.x); t < tokens; t += static_cast<int>(gridDim.x)) {
    const int slot = slot_of(positions, t, tokens, capacity, sinks);
    if (slot < 0) continue;
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

// The same into blocks of 32, a warp each; of floats, or of blocks that are copied. Widths in blocks.
constexpr int kBlockWarps = 8;
template <bool encoded>
__global__ void __launch_bounds__(32 * kBlockWarps)
    kv_append_blocks(const void* x, std::uint8_t* cache, const std::int32_t* positions, int tokens,
                     int width, int capacity, int sinks) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  for (int t = static_cast<int>(blockIdx.x); t < tokens; t += static_cast<int>(gridDim.x)) {
    const int slot = slot_of(positions, t, tokens, capacity, sinks);
    if (slot < 0) continue;
    for (int b = static_cast<int>(threadIdx.x) / 32; b < width; b += kBlockWarps) {
      const std::int64_t from = static_cast<std::int64_t>(t) * width + b;
      std::uint8_t* to = cache + (static_cast<std::int64_t>(slot) * width + b) * sizeof(BlockQ8_0);
      if constexpr (encoded) {
        constexpr int kHalves = sizeof(BlockQ8_0) / 2;
        const auto* halves = static_cast<const std::uint16_t*>(x) + from * kHalves;
        if (lane < kHalves) reinterpret_cast<std::uint16_t*>(to)[lane] = halves[lane];
      } else {
        store_q8_0(static_cast<const float*>(x)[32 * from + lane], to);
      }
    }
  }
}

template <bool encoded>
void launch_blocks(const CudaCall& call) {
  const Shape& x = call.inputs[KvAppend::kX].shape;
  kv_append_blocks<encoded><<<blocks_for(x[0], 1), 32 * kBlockWarps, 0, call.stream>>>(
      call.in<void>(KvAppend::kX), call.out<std::uint8_t>(),
      call.in<std::int32_t>(KvAppend::kPositions), static_cast<int>(x[0]),
      static_cast<int>(x[1] * x[2] / 32), static_cast<int>(call.output.shape[0]),
      static_cast<int>(call.attributes<KvAppend>().sinks));
  check_launch("kv_append");
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
    case Dtype::q8_0:
      return same ? launch_blocks<true>(call) : launch_blocks<false>(call);
    default:
      return launch<float, float>(call);
  }
}

}  // namespace

const CudaKernel kKvAppend = {KvAppend::kName, run};

}  // namespace l2a::cuda
