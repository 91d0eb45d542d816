// Keys or values into their slots, rounded to the cache's dtype.
#include "ops/kv_append.h"

#include <cstring>

#include "backends/cpu/kernels/kernels.h"
#include "backends/cpu/row_ops.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const TensorView &x = call.inputs[KvAppend::kX], &positions = call.inputs[KvAppend::kPositions];
  const TensorView& cache = call.output;
  const std::int64_t count = x.shape[0], width = x.shape[1] * x.shape[2];
  const CacheSlots slots(positions, cache, call.attributes<KvAppend>().sinks);
  call.pool.parallel_for(count, row_grain(width * 6), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      std::byte* slot = slots.slot(t);
      if (slot == nullptr) continue;
      if (x.dtype == cache.dtype) {
        std::memcpy(slot, x.row<const std::byte>(t), dtype_bytes(x.dtype, width));
      } else {
        call.simd.float_row(cache.dtype).from_f32(width, x.row<const float>(t), slot);
      }
    }
  });
}

}  // namespace

const CpuKernel kKvAppend = {KvAppend::kName, run};

}  // namespace l2a::cpu
