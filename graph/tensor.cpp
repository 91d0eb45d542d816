#include "graph/tensor.h"

#include <limits>

#include "graph/error.h"

namespace l2a {

Shape::Shape(std::initializer_list<std::int64_t> extents)
    : Shape(std::span<const std::int64_t>(extents.begin(), extents.size())) {}

Shape::Shape(std::span<const std::int64_t> extents) {
  if (extents.empty() || extents.size() > kMaxRank) {
    throw GraphError(concat("a tensor has 1 to ", kMaxRank, " extents, not ", extents.size()));
  }
  std::int64_t product = 1;
  for (const std::int64_t extent : extents) {
    if (extent < 1) throw GraphError(concat("a tensor's extent is at least 1, not ", extent));
    if (product > std::numeric_limits<std::int64_t>::max() / extent) {
      throw GraphError("a tensor's element count overflows 64 bits");
    }
    product *= extent;
    extents_[static_cast<std::size_t>(rank_++)] = extent;
  }
}

std::int64_t Shape::elements() const {
  std::int64_t product = 1;
  for (const std::int64_t extent : extents()) product *= extent;
  return product;
}

std::string Shape::to_string() const {
  std::string text = "[";
  for (int axis = 0; axis < rank_; ++axis) {
    if (axis > 0) text += ", ";
    text += std::to_string((*this)[axis]);
  }
  return text + "]";
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) { return out << shape.to_string(); }
std::ostream& operator<<(std::ostream& out, Dtype dtype) { return out << dtype_name(dtype); }

Strides contiguous_strides(Dtype dtype, const Shape& shape) {
  Strides strides{};
  const int last = shape.rank() - 1;
  auto stride = static_cast<std::int64_t>(dtype_bytes(dtype, shape.back()));
  strides[static_cast<std::size_t>(last)] = dtype_info(dtype).block_bytes;
  for (int axis = last - 1; axis >= 0; --axis) {
    strides[static_cast<std::size_t>(axis)] = stride;
    stride *= shape[axis];
  }
  return strides;
}

}  // namespace l2a
