// The k largest values of each row, in order, with their indices. Values and indices together are 64-bit keys, all
// different, so that the k-th largest is a number and its ties are decided: blocks share a row, each finds the k largest
// of its stretch digit by digit (radix select), and the last one to arrive does the same with what all have found and
// puts it in order. Bound by latency: the row is read from the second-level cache a few times.
#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "ops/top_k.h"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kStretch = 4096;  // values a block takes at least
constexpr int kMostBlocks = 64;
constexpr std::int64_t kMost = 1024;  // k: they are put in order in shared memory

using Key = unsigned long long;

// Larger keys come first: NaN, then larger values, then lower indices. No key is 0.
__device__ Key key_of(float value, int index) {
  const unsigned bits = __float_as_uint(value);
  const unsigned ordered = isnan(value)        ? 0xffffffffu
                           : value == 0        ? 0x80000000u
                           : (bits >> 31) != 0 ? ~bits
                                               : bits | 0x80000000u;
  return static_cast<Key>(ordered) << 32 | (0xffffffffu - static_cast<unsigned>(index));
}

// A number that exactly `k` of the keys key(0) to key(count - 1) reach; k is at most count. All threads call it.
template <class KeyAt>
__device__ Key threshold(int count, int k, KeyAt key) {
  __shared__ int counts[256];
  __shared__ Key prefix;
  __shared__ int left, there;  // wanted of those with the prefix, and how many have it
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    prefix = 0;
    left = k;
    there = count;
  }
  Key mask = 0;
  __syncthreads();
  for (int shift = 56; shift >= 0 && left != there; shift -= 8) {
    if (thread < 256) counts[thread] = 0;
    __syncthreads();
    for (int i = thread; i < count; i += kThreads) {
      const Key one = key(i);
      if ((one & mask) == prefix) atomicAdd(&counts[one >> shift & 255], 1);
    }
    __syncthreads();
    if (thread < 32) {  // lanes take eight digits each, the largest first
      int mine = 0;
      for (int j = 0; j < 8; ++j) mine += counts[255 - 8 * thread - j];
      int before = mine;  // with larger digits, and then with this lane's
      for (int offset = 1; offset < 32; offset *= 2) {
        const int other = __shfl_up_sync(kAllLanes, before, offset);
        if (thread >= offset) before += other;
      }
      before -= mine;
      const int wanted = left;
      __syncwarp();
      if (before < wanted && wanted <= before + mine) {
        int digit = 255 - 8 * thread;
        while (before + counts[digit] < wanted) before += counts[digit--];
        left = wanted - before;
        there = counts[digit];
        prefix |= static_cast<Key>(digit) << shift;
      }
    }
    mask |= static_cast<Key>(255) << shift;
    __syncthreads();
  }
  return prefix;
}

__global__ void __launch_bounds__(kThreads)
    top_k(const float* x, Key* parts, std::uint32_t* counters, float* out, int width, int k) {
  __shared__ Key best[kMost];
  __shared__ int found;
  __shared__ bool last_to_arrive;
  const int row = static_cast<int>(blockIdx.y), blocks = static_cast<int>(gridDim.x);
  const int thread = static_cast<int>(threadIdx.x), block = static_cast<int>(blockIdx.x);
  const int stretch = (width + blocks - 1) / blocks, begin = min(width, block * stretch);
  const int count = min(stretch, width - begin), kept = min(k, count);
  const float* const from = x + static_cast<std::int64_t>(row) * width + begin;
  const auto own = [&](int i) { return key_of(from[i], begin + i); };

  // The keys that reach the threshold, in any order; a stretch that has too few leaves zeros.
  const auto collect = [&](int of, Key least, auto key, Key* to) {
    if (thread == 0) found = 0;
    __syncthreads();
    for (int i = thread; i < of; i += kThreads) {
      const Key one = key(i);
      if (one >= least && one != 0) to[atomicAdd(&found, 1)] = one;
    }
    __syncthreads();
  };
  collect(count, kept > 0 ? threshold(count, kept, own) : 0, own, best);
  if (blocks > 1) {
    Key* const row_parts = parts + static_cast<std::int64_t>(row) * blocks * k;
    for (int i = thread; i < k; i += kThreads) row_parts[block * k + i] = i < kept ? best[i] : 0;
    __threadfence();
    __syncthreads();
    if (thread == 0)
      last_to_arrive = atomicAdd(counters + row, 1u) == static_cast<unsigned>(blocks - 1);
    __syncthreads();
    if (!last_to_arrive) return;
    __threadfence();
    const auto all = [&](int i) { return __ldcg(row_parts + i); };
    collect(blocks * k, threshold(blocks * k, k, all), all, best);
    if (thread == 0) counters[row] = 0;
  }
  for (int i = thread; i < k; i += kThreads) {
    const Key one = best[i];
    int rank = 0;
    for (int j = 0; j < k; ++j) rank += best[j] > one ? 1 : 0;
    const int index = static_cast<int>(0xffffffffu - static_cast<unsigned>(one));
    float* const to = out + (static_cast<std::int64_t>(row) * k + rank) * 2;
    to[0] = x[static_cast<std::int64_t>(row) * width + index];
    to[1] = static_cast<float>(index);
  }
}

unsigned blocks_of(const Shape& x) {
  return x[0] > static_cast<std::int64_t>(kCounters) ? 1 : blocks_for(x[1], kStretch, kMostBlocks);
}

std::size_t workspace_bytes(const CudaCall& call) {
  const Shape& x = call.inputs[TopK::kX].shape;
  return static_cast<std::size_t>(x[0] * call.attributes<TopK>().k) * blocks_of(x) * sizeof(Key);
}

void run(const CudaCall& call) {
  const Shape& x = call.inputs[TopK::kX].shape;
  const dim3 grid(blocks_of(x), static_cast<unsigned>(x[0]));
  top_k<<<grid, kThreads, 0, call.stream>>>(
      call.in<float>(TopK::kX), reinterpret_cast<Key*>(call.workspace), call.counters,
      call.out<float>(), static_cast<int>(x[1]), static_cast<int>(call.attributes<TopK>().k));
  check_launch("top_k");
}

bool supports(const Op& op, std::span<const ValueInfo> /*inputs*/) {
  return static_cast<const TopK&>(op).k <= kMost;
}

}  // namespace

const CudaKernel kTopK = {TopK::kName, run, workspace_bytes, supports};

}  // namespace l2a::cuda
