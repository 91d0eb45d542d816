#include "ops/kv_append.h"

#include <cstring>

#include "ops/check.h"
#include "ops/quantize.h"

namespace l2a {

bool is_cache_dtype(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::f16 || dtype == Dtype::bf16 || dtype == Dtype::q8_0;
}

OutputInfo KvAppend::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &cache = inputs[kCache], &x = inputs[kX], &positions = inputs[kPositions];
  require_rank(cache, 3, "the cache");
  require(is_cache_dtype(cache.dtype), "the cache must be f32, f16, bf16 or q8_0");
  require_rank(x, 3, "the appended tensor");
  require(!x.compact(), "every token is cached, so the appended tensor must be full");
  require(x.dtype == Dtype::f32 || x.dtype == cache.dtype,
          "the appended tensor must be f32 or as the cache");
  require(x.shape[1] == cache.shape[1] && x.shape[2] == cache.shape[2],
          "heads and head size must agree");
  require_rank(positions, 1, "the positions");
  require(positions.dtype == Dtype::i32 && positions.shape[0] == x.shape[0],
          "there must be an i32 position for every token");
  require(sinks >= 0 && sinks < cache.shape[0], "the cache must have more slots than sinks");
  return {cache.dtype, cache.shape};
}

Cost KvAppend::cost(std::span<const ValueInfo> inputs, const OutputInfo& /*output*/,
                    const CostHints& hints) const {
  const std::size_t stored = dtype_bytes(inputs[kCache].dtype, inputs[kX].shape.elements());
  return {0, operand_bytes(inputs[kX], hints) + static_cast<double>(stored)};
}

void KvAppend::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView& x = inputs[kX];
  const std::int64_t width = x.shape[1] * x.shape[2];
  const std::size_t bytes = dtype_bytes(output.dtype, width);
  for (std::int64_t t = 0; t < x.shape[0]; ++t) {
    const std::int64_t position = *inputs[kPositions].row<const std::int32_t>(t);
    const std::span<std::byte> slot(
        output.row<std::byte>(cache_slot(position, output.shape[0], sinks)), bytes);
    if (x.dtype == output.dtype) {
      std::memcpy(slot.data(), x.row<const std::byte>(t), bytes);
    } else {
      quantize_row(output.dtype, {x.row<const float>(t), static_cast<std::size_t>(width)}, slot);
    }
  }
}

Tensor kv_append(GraphBuilder& graph, Tensor cache, Tensor x, Tensor positions,
                 std::int64_t sinks) {
  return graph.add(std::make_shared<KvAppend>(sinks), {cache, x, positions});
}

}  // namespace l2a
