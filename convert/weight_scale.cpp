#include "convert/weight_scale.h"

#include <algorithm>

#include "graph/error.h"
#include "models/quote.h"

namespace l2a {

std::optional<WeightScale> WeightScale::find(const SafetensorsTensor& tensor,
                                             const Safetensors& files,
                                             std::optional<std::array<std::int64_t, 2>> block,
                                             const std::string& origin) {
  const SafetensorsTensor* stored = files.find(tensor.name + "_scale_inv");
  if (stored == nullptr) stored = files.find(tensor.name + "_scale");
  if (stored == nullptr) return std::nullopt;

  const std::vector<std::int64_t>& shape = tensor.shape;
  const std::int64_t rows = shape.empty() ? 1 : shape.front();
  WeightScale scale;
  scale.name_ = stored->name;
  scale.columns_ = shape.size() > 1 ? shape.back() : 1;
  const std::size_t count = stored->data.size() / safetensors_type_bytes(stored->type);
  const auto blocks = [](std::int64_t extent, std::int64_t size) {
    return (extent + size - 1) / size;
  };
  using Shape = std::vector<std::int64_t>;
  if (block && shape.size() == 2 &&
      stored->shape == Shape{blocks(rows, (*block)[0]), blocks(scale.columns_, (*block)[1])}) {
    scale.block_rows_ = (*block)[0];
    scale.block_columns_ = (*block)[1];
    scale.across_ = stored->shape[1];
  } else if (count == 1) {
    scale.block_rows_ = rows;
    scale.block_columns_ = scale.columns_;
  } else if (shape.size() == 2 &&
             (stored->shape == Shape{rows} || stored->shape == Shape{rows, 1})) {
    scale.block_columns_ = scale.columns_;
  } else {
    throw FileError(concat(origin, ": tensor ", quote(stored->name), " has shape ",
                           shape_text(stored->shape), ", which does not scale a tensor of shape ",
                           shape_text(shape)));
  }
  scale.values_.resize(count);
  read_floats(*stored, 0, scale.values_);
  return scale;
}

void WeightScale::apply(std::int64_t first, std::span<float> rows) const {
  const auto columns = static_cast<std::size_t>(columns_);
  for (std::size_t at = 0; at < rows.size(); at += columns) {
    const std::int64_t row = first + static_cast<std::int64_t>(at / columns);
    const float* scale = &values_[static_cast<std::size_t>(row / block_rows_ * across_)];
    for (std::size_t begin = 0; begin < columns;
         begin += static_cast<std::size_t>(block_columns_)) {
      const std::size_t end = std::min(columns, begin + static_cast<std::size_t>(block_columns_));
      for (std::size_t column = begin; column < end; ++column) rows[at + column] *= *scale;
      ++scale;
    }
  }
}

}  // namespace l2a
