#include "ops/kv_append.h"

#include <cstring>

#include "ops/check.h"
#include "ops/quantize.h"

namespace l2a {

OutputInfo KvAppend::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo &cache = inputs[kCache], &x = inputs[kX], &positions = inputs[kPositions];
  require_rank(cache, 3, "the cache");
  require(cache.dtype == Dtype::f32 || cache.dtype == Dtype::f16 || cache.dtype == Dtype::bf16,
          "the cache must be f32, f16 or bf16");
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
  const auto elements = static_cast<double>(inputs[kX].shape.elements());
  const auto width = static_cast<double>(dtype_info(inputs[kCache].dtype).block_bytes);
  return {0, operand_bytes(inputs[kX], hints) + elements * width};
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
