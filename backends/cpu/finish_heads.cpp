#include "backends/cpu/finish_heads.h"

#include "backends/cpu/kernel.h"
#include "backends/cpu/row_ops.h"

namespace l2a::cpu {
namespace {

void finish(const FinishHeads& call, const HeadPart& part, std::int64_t token,
            const SimdKernels& simd) {
  std::byte* const slot =
      part.appends ? CacheSlots(call.positions, part.to, call.sinks).slot(token) : nullptr;
  if (part.appends && slot == nullptr) return;
  const std::int64_t heads = part.to.shape[1], dim = part.to.shape[2];
  auto* const row = part.x.row<float>(token);
  if (part.bias != nullptr) {
    for (std::int64_t i = 0; i < heads * dim; ++i) row[i] += part.bias[i];
  }
  for (std::int64_t h = 0; h < heads; ++h) {
    const float* from = row + h * dim;
    float* const to = part.appends ? row + h * dim : part.to.row<float>(token, h);
    if (part.norm != nullptr) {
      norm_row(simd, dim, from, part.norm, part.eps, to);
      from = to;
    }
    if (part.turns)
      turn_head(simd, call.pairing, dim / 2, from, call.table.row<const float>(token), to);
  }
  if (part.appends) simd.float_row(part.to.dtype).from_f32(heads * dim, row, slot);
}

}  // namespace

void finish_heads(const FinishHeads& call, ThreadPool& pool, const SimdKernels& simd) {
  std::int64_t bytes = 0;
  for (const HeadPart& part : call.parts) bytes += part.x.strides[0];
  pool.parallel_for(call.positions.shape[0], row_grain(bytes),
                    [&](std::int64_t begin, std::int64_t end) {
                      for (std::int64_t t = begin; t < end; ++t) {
                        for (int i = 0; i < call.count; ++i)
                          finish(call, call.parts[static_cast<std::size_t>(i)], t, simd);
                      }
                    });
}

}  // namespace l2a::cpu
