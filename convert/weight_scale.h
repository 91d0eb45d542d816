// The scales of a checkpoint's F8_E4M3 matrices, as the `fp8` quantization of Hugging Face stores them:
// value = stored * scale, one scale for the tensor, for each row, or for each block of rows and columns.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "convert/safetensors.h"

namespace l2a {

class WeightScale {
 public:
  // Of `tensor`, from `{name}_scale_inv` or `{name}_scale`. Nothing when there is neither. `block` is what the
  // configuration says; without it scales are for the tensor or its rows. Throws FileError when the shape is none
  // of these.
  static std::optional<WeightScale> find(const SafetensorsTensor& tensor, const Safetensors& files,
                                         std::optional<std::array<std::int64_t, 2>> block,
                                         const std::string& origin);

  const std::string& name() const { return name_; }
  // Multiplies whole rows of the tensor, from row `first` on.
  void apply(std::int64_t first, std::span<float> rows) const;

 private:
  std::string name_;
  std::vector<float> values_;
  std::int64_t columns_ = 1;                         // of the tensor
  std::int64_t block_rows_ = 1, block_columns_ = 1;  // that share a scale
  std::int64_t across_ = 1;                          // scales for a row
};

}  // namespace l2a
