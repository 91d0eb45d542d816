// y = x w^T on Hopper's tensor cores, int8 with s32 sums of a group of 256 values, which its two scales bring to f32.
//
// A multiprocessor runs one block of three warpgroups over tiles of 128 tokens by 128 outputs. A thread of the first
// has the copy engine bring slices of 128 of the inner extent with their scales, six on their way; the other two multiply
// 64 tokens each. While one scales and adds up its sums, some 270 instructions of each warp, the other's products, 512
// cycles, run. Tokens vary fastest, so that blocks that run together share the weights they read. Bound by arithmetic.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/matmul_parts.h"
#include "backends/cuda/kernels/store_sums.cuh"
#include "backends/cuda/kernels/wgmma.cuh"
#include "backends/cuda/tensor_map.h"

namespace l2a::cuda {
namespace {

constexpr int kConsumers = 2, kThreads = (1 + kConsumers) * kWarpgroup;
constexpr int kTokens = 64 * kConsumers, kOutputs = 128, kSlice = 128, kStages = 6;
constexpr int kSlices = kGroup / kSlice;
static_assert(kSlices == 2);

struct Maps {
  CUtensorMap x, weight;
};

struct Shared {
  std::uint8_t x[kStages][kTokens * kSlice], weight[kStages][kOutputs * kSlice];
  float x_scale[kStages][kTokens], weight_scale[kStages][kOutputs];
  std::uint64_t full[kStages], empty[kStages];
};

#if L2A_HOPPER_CODE

constexpr int kBringRegisters = 40, kMultiplyRegisters = 232;

// Tiles of a block, one after the other.
template <class F>
__device__ void each_tile(const GroupedProduct& p, int count, const F& f) {
  const int token_tiles = (count + kTokens - 1) / kTokens;
  const int tiles = token_tiles * ((p.outer + kOutputs - 1) / kOutputs);
  for (int tile = static_cast<int>(blockIdx.x); tile < tiles; tile += static_cast<int>(gridDim.x))
    f(tile % token_tiles * kTokens, tile / token_tiles * kOutputs);
}

__device__ void bring(const GroupedProduct& p, int count, const Maps& maps, Shared& shared) {
  constexpr int kBytes = (kTokens + kOutputs) * (kSlice + static_cast<int>(sizeof(float)));
  Turn<kStages> turn;
  each_tile(p, count, [&](int token, int output) {
    for (int k = 0; k < p.inner; k += kSlice) {
      const int stage = turn.stage;
      const std::int64_t group = k / kGroup;
      Barrier* const full = &shared.full[stage];
      wait(&shared.empty[stage], turn.phase ^ 1);
      arrive_expecting(full, kBytes);
      copy_box(shared.x[stage], maps.x, full, k / 2, token);
      copy_box(shared.weight[stage], maps.weight, full, k / 2, output);
      bulk_copy(shared_address(shared.x_scale[stage]), p.x.scale + group * p.x.stride + token,
                kTokens * sizeof(float), full);
      bulk_copy(shared_address(shared.weight_scale[stage]),
                p.weight.scale + group * p.weight.stride + output, kOutputs * sizeof(float), full);
      turn.advance();
    }
  });
}

// A sum of a group as a float: small_float's bits hold 256 * 127 * 127.
static_assert(kGroup * 127 * 127 < 1 << 22);

__device__ void multiply_tiles(const GroupedProduct& p, int count, Shared& shared) {
  const int warpgroup = static_cast<int>(threadIdx.x) / kWarpgroup - 1;
  const int in_group = static_cast<int>(threadIdx.x) % kWarpgroup, lane = in_group % 32;
  const int row = 64 * warpgroup + in_group / 32 * 16 + lane / 4, column = 2 * (lane % 4);
  Turn<kStages> turn;
  int parts[kOutputs / 2];
  const auto multiply_slice = [&](bool add) {
    wait(&shared.full[turn.stage], turn.phase);
    const std::uint64_t x = operand(shared.x[turn.stage] + warpgroup * 64 * kSlice);
    const std::uint64_t weight = operand(shared.weight[turn.stage]);
    begin_multiplies();
#pragma unroll
    for (int part = 0; part < kSlice / 32; ++part)
      multiply(parts, x + 2 * part, weight + 2 * part, add || part > 0);
    commit_multiplies();
  };
  each_tile(p, count, [&](int token, int output) {
    float sums[kOutputs / 2] = {};
#pragma unroll 1
    for (int k = 0; k < p.inner; k += kGroup) {
      multiply_slice(false);
      if (k + kSlice < p.inner) {
        const int earlier = turn.stage;
        turn.advance();
        multiply_slice(true);
        wait_multiplies<1>();
        if (lane == 0) arrive(&shared.empty[earlier]);
      }
      const int stage = turn.stage;
      const float low = shared.x_scale[stage][row], high = shared.x_scale[stage][row + 8];
      wait_multiplies<0>();
      settle(parts);
#pragma unroll
      for (int j = 0; j < kOutputs / 8; ++j) {
        const float2 scale =
            *reinterpret_cast<const float2*>(&shared.weight_scale[stage][8 * j + column]);
        sums[4 * j] += low * scale.x * small_float(parts[4 * j]);
        sums[4 * j + 1] += low * scale.y * small_float(parts[4 * j + 1]);
        sums[4 * j + 2] += high * scale.x * small_float(parts[4 * j + 2]);
        sums[4 * j + 3] += high * scale.y * small_float(parts[4 * j + 3]);
      }
      __syncwarp();
      if (lane == 0) arrive(&shared.empty[stage]);
      turn.advance();
    }
    store_sums(sums, p, count, token + 64 * warpgroup, output, nullptr);
  });
}

#endif

__global__ void __launch_bounds__(kThreads, 1)
    grouped_product_kernel(GroupedProduct p, const __grid_constant__ Maps maps) {
#if L2A_HOPPER_CODE
  extern __shared__ std::uint8_t memory[];
  // The swizzle goes by addresses.
  auto& shared = *reinterpret_cast<Shared*>(memory + (1024 - shared_address(memory) % 1024) % 1024);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      init_barrier(&shared.full[i], 1);
      init_barrier(&shared.empty[i], kConsumers * 4);
    }
    publish_barriers();
  }
  __syncthreads();
  const int count = active_rows(p.rows, p.tokens);
  if (threadIdx.x < kWarpgroup) {
    give_registers<kBringRegisters>();
    if (threadIdx.x == 0) bring(p, count, maps, shared);
  } else {
    take_registers<kMultiplyRegisters>();
    multiply_tiles(p, count, shared);
  }
#endif
}

}  // namespace

void grouped_product(const GroupedProduct& p, const DeviceTraits& device, cudaStream_t stream) {
  // To the copy engine two values are one of 16 bits.
  const auto map = [&](const void* data, int rows, std::uint32_t box_rows) {
    const std::uint64_t extents[] = {static_cast<std::uint64_t>(p.inner) / 2,
                                     static_cast<std::uint64_t>(rows)};
    const std::uint64_t strides[] = {static_cast<std::uint64_t>(p.inner)};
    const std::uint32_t box[] = {kSlice / 2, box_rows};
    return tensor_map(Dtype::f16, data, extents, strides, box);
  };
  const Maps maps{map(p.x.q, p.tokens, kTokens), map(p.weight.q, p.outer, kOutputs)};
  constexpr int kBytes = sizeof(Shared) + 1024;  // what aligns it
  check(cudaFuncSetAttribute(grouped_product_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             kBytes),
        "matmul");
  grouped_product_kernel<<<static_cast<unsigned>(device.multiprocessors), kThreads, kBytes,
                           stream>>>(p, maps);
  check_launch("matmul");
}

}  // namespace l2a::cuda
