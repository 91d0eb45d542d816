// Keys or values into their slots, rounded to the cache's dtype.
#include "ops/kv_append.h"

#include <cstring>

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

void run(const CpuCall& call) {
  const TensorView &x = call.inputs[KvAppend::kX], &positions = call.inputs[KvAppend::kPositions];
  const TensorView& cache = call.output;
  const std::int64_t sinks = call.attributes<KvAppend>().sinks, capacity = cache.shape[0];
  const std::int64_t width = x.shape[1] * x.shape[2];
  const auto position = [&](std::int64_t t) {
    return std::int64_t{*positions.row<const std::int32_t>(t)};
  };
  // Of tokens that share a slot only the last is written, so that threads never write the same slot.
  const std::int64_t ring = capacity - sinks;
  const std::int64_t count = x.shape[0];
  auto overwritten = [&](std::int64_t t) { return position(t) >= sinks && t + ring < count; };
  call.pool.parallel_for(count, row_grain(width * 6), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      if (overwritten(t)) continue;
      auto* slot = cache.row<std::byte>(cache_slot(position(t), capacity, sinks));
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
