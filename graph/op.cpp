#include "graph/op.h"

namespace l2a {
namespace {

double bytes_of(Dtype dtype, const Shape& shape, bool compact, const CostHints& hints) {
  const DtypeInfo& info = dtype_info(dtype);
  const double bytes = static_cast<double>(shape.elements()) /
                       static_cast<double>(info.block_elements) *
                       static_cast<double>(info.block_bytes);
  return compact ? bytes * hints.routed_share : bytes;
}

}  // namespace

double operand_bytes(const ValueInfo& value, const CostHints& hints) {
  return value.present() ? bytes_of(value.dtype, value.shape, value.compact(), hints) : 0;
}

double operand_bytes(const OutputInfo& value, const CostHints& hints) {
  return bytes_of(value.dtype, value.shape, value.rows != kNoValue, hints);
}

Cost Op::cost(std::span<const ValueInfo> inputs, const OutputInfo& output,
              const CostHints& hints) const {
  Cost cost;
  for (const ValueInfo& input : inputs) cost.bytes += operand_bytes(input, hints);
  cost.bytes += operand_bytes(output, hints);
  return cost;
}

}  // namespace l2a
