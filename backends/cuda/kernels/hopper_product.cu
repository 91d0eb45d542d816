// y = x w^T on Hopper's tensor cores, f16 or bf16 with f32 sums, bound by arithmetic.
//
// A multiprocessor runs one block of three warpgroups over tiles of 128 tokens by 256 or 128 outputs. A thread of the
// first has the copy engine bring slices of 64 of the inner extent, four or six on their way; the other two multiply
// 64 tokens each. Tokens vary fastest, so that blocks that run together share the weights they read. The narrow tile
// serves where wide ones would leave multiprocessors idle; which it is depends on how many rows a compact tensor has,
// which only the device knows.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"
#include "backends/cuda/kernels/store_sums.cuh"
#include "backends/cuda/kernels/wgmma.cuh"
#include "backends/cuda/tensor_map.h"

namespace l2a::cuda {
namespace {

constexpr int kConsumers = 2, kThreads = (1 + kConsumers) * kWarpgroup;
constexpr int kTokens = 64 * kConsumers, kBoxOutputs = 128, kSlice = 64;
constexpr int kTokenBytes = kTokens * kSlice * 2, kBoxBytes = kBoxOutputs * kSlice * 2;
constexpr int kMostStages = 6, kOperandBytes = 4 * (kTokenBytes + 2 * kBoxBytes);
static_assert(kMostStages * (kTokenBytes + kBoxBytes) <= kOperandBytes);

struct Maps {
  CUtensorMap x, weight;
};

#if L2A_HOPPER_CODE

constexpr int kBringRegisters = 40, kMultiplyRegisters = 232;

struct Shared {
  std::uint8_t operands[kOperandBytes];
  Barrier full[kMostStages], empty[kMostStages];
};

// Tiles `boxes` boxes wide.
template <int boxes>
struct Shape {
  static constexpr int kOutputs = boxes * kBoxOutputs, kStages = boxes == 2 ? 4 : 6;
  static constexpr int kBytes = kTokenBytes + boxes * kBoxBytes;

  static __device__ int token_tiles(int count) { return (count + kTokens - 1) / kTokens; }
  static __device__ int tiles(int count, int outer) {
    return token_tiles(count) * ((outer + kOutputs - 1) / kOutputs);
  }
  // Rounds of tiles, in units of a box.
  static __device__ int time(int count, int outer) {
    const int blocks = static_cast<int>(gridDim.x);
    return (tiles(count, outer) + blocks - 1) / blocks * boxes;
  }
};

template <int boxes>
__device__ void bring(const HalfProduct& p, int count, const Maps& maps, Shared& shared) {
  using S = Shape<boxes>;
  const int token_tiles = S::token_tiles(count), tiles = S::tiles(count, p.outer);
  Turn<S::kStages> turn;
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x)) {
    const int token = tile % token_tiles * kTokens, output = tile / token_tiles * S::kOutputs;
    for (int k = 0; k < p.inner; k += kSlice) {
      Barrier* const full = &shared.full[turn.stage];
      std::uint8_t* const to = shared.operands + turn.stage * S::kBytes;
      wait(&shared.empty[turn.stage], turn.phase ^ 1);
      arrive_expecting(full, S::kBytes);
      copy_box(to, maps.x, full, k, token);
#pragma unroll
      for (int box = 0; box < boxes; ++box)
        copy_box(to + kTokenBytes + box * kBoxBytes, maps.weight, full, k,
                 output + box * kBoxOutputs);
      turn.advance();
    }
  }
}

template <class T, int boxes>
__device__ void multiply_tiles(const HalfProduct& p, int count, Shared& shared) {
  using S = Shape<boxes>;
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup - 1;
  const int in_group = static_cast<int>(threadIdx.x) % kWarpgroup, lane = in_group % 32;
  const int token_tiles = S::token_tiles(count), tiles = S::tiles(count, p.outer);
  Turn<S::kStages> turn;
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x)) {
    const int token = tile % token_tiles * kTokens, output = tile / token_tiles * S::kOutputs;
    float sums[S::kOutputs / 2];
    int earlier = 0;
#pragma unroll 1
    for (int k = 0; k < p.inner; k += kSlice) {
      wait(&shared.full[turn.stage], turn.phase);
      const std::uint8_t* const at = shared.operands + turn.stage * S::kBytes;
      const std::uint64_t x = operand(at + warpgroup * 64 * 128);
      const std::uint64_t weight = operand(at + kTokenBytes);
      begin_multiplies();
#pragma unroll
      for (int part = 0; part < kSlice / 16; ++part)
        multiply<T>(sums, x + 2 * part, weight + 2 * part, k > 0 || part > 0);
      commit_multiplies();
      // The slice before this one has been read.
      wait_multiplies<1>();
      if (k > 0 && lane == 0) arrive(&shared.empty[earlier]);
      earlier = turn.stage;
      turn.advance();
    }
    wait_multiplies<0>();
    settle(sums);
    if (lane == 0) arrive(&shared.empty[earlier]);

    store_sums(sums, p, count, token + 64 * warpgroup, output, p.scale);
  }
}

#endif

template <class T>
__global__ void __launch_bounds__(kThreads, 1)
    hopper_product_kernel(HalfProduct p, const __grid_constant__ Maps maps) {
#if L2A_HOPPER_CODE
  extern __shared__ std::uint8_t memory[];
  // The swizzle goes by addresses.
  auto& shared = *reinterpret_cast<Shared*>(memory + (1024 - shared_address(memory) % 1024) % 1024);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kMostStages; ++i) {
      init_barrier(&shared.full[i], 1);
      init_barrier(&shared.empty[i], kConsumers * 4);
    }
    publish_barriers();
  }
  __syncthreads();
  const int count = active_rows(p.rows, p.tokens);
  // A wide tile reads less for what it multiplies.
  const bool wide = Shape<2>::time(count, p.outer) <= Shape<1>::time(count, p.outer) * 1.1f;
  if (threadIdx.x < kWarpgroup) {
    give_registers<kBringRegisters>();
    if (threadIdx.x == 0)
      wide ? bring<2>(p, count, maps, shared) : bring<1>(p, count, maps, shared);
  } else {
    take_registers<kMultiplyRegisters>();
    wide ? multiply_tiles<T, 2>(p, count, shared) : multiply_tiles<T, 1>(p, count, shared);
  }
#endif
}

template <class T>
void launch(const HalfProduct& p, const DeviceTraits& device, cudaStream_t stream) {
  const auto map = [&](const void* data, int rows, std::uint32_t box_rows) {
    const std::uint64_t extents[] = {static_cast<std::uint64_t>(p.inner),
                                     static_cast<std::uint64_t>(rows)};
    const std::uint64_t strides[] = {2 * extents[0]};
    const std::uint32_t box[] = {kSlice, box_rows};
    return tensor_map(p.dtype, data, extents, strides, box);
  };
  const Maps maps{map(p.x, p.tokens, kTokens), map(p.weight, p.outer, kBoxOutputs)};
  constexpr int kBytes = kOperandBytes + 2048;  // barriers, and what aligns the rest
  const auto kernel = hopper_product_kernel<T>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "matmul");
  kernel<<<static_cast<unsigned>(device.multiprocessors), kThreads, kBytes, stream>>>(p, maps);
  check_launch("matmul");
}

}  // namespace

void hopper_product(const HalfProduct& product, const DeviceTraits& device, cudaStream_t stream) {
  if (product.dtype == Dtype::f16) {
    launch<__half>(product, device, stream);
  } else {
    launch<__nv_bfloat16>(product, device, stream);
  }
}

}  // namespace l2a::cuda
