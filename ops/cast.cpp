#include "ops/cast.h"

#include <vector>

#include "ops/check.h"
#include "ops/dequantize.h"
#include "ops/quantize.h"

namespace l2a {
namespace {

bool plain_float(Dtype dtype) {
  return dtype == Dtype::f32 || dtype == Dtype::f16 || dtype == Dtype::bf16;
}

}  // namespace

OutputInfo Cast::infer(std::span<const ValueInfo> inputs) const {
  const ValueInfo& x = inputs[kX];
  require(x.present() && plain_float(x.dtype), "the input must be f32, f16 or bf16");
  require(plain_float(dtype) || dtype == Dtype::q8_0, "the result must be f32, f16, bf16 or q8_0");
  require(x.shape.back() % dtype_info(dtype).block_elements == 0,
          "the innermost extent must be whole blocks of the result's dtype");
  require(!x.compact(), "the input must be full");
  const Strides packed = contiguous_strides(x.dtype, x.shape);
  for (int axis = 1; axis < x.shape.rank(); ++axis) {
    require(x.strides[static_cast<std::size_t>(axis)] == packed[static_cast<std::size_t>(axis)],
            "rows must be contiguous");
  }
  return {dtype, x.shape};
}

void Cast::reference(std::span<const TensorView> inputs, const TensorView& output) const {
  const TensorView& x = inputs[kX];
  const std::int64_t width = x.shape.elements() / x.shape[0];
  std::vector<float> row(static_cast<std::size_t>(width));
  for (std::int64_t t = 0; t < x.shape[0]; ++t) {
    dequantize_row(x.dtype, {x.row<const std::byte>(t), dtype_bytes(x.dtype, width)}, row);
    quantize_row(dtype, row, {output.row<std::byte>(t), dtype_bytes(dtype, width)});
  }
}

Tensor cast(GraphBuilder& graph, Tensor x, Dtype dtype) {
  return graph.add(std::make_shared<Cast>(dtype), {x});
}

Tensor copy(GraphBuilder& graph, Tensor x) { return cast(graph, x, graph.info(x).dtype); }

}  // namespace l2a
