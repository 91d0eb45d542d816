#include "models/gguf_format.h"

#include <array>

namespace l2a {
namespace {

// In the order of Dtype.
constexpr std::array<std::uint32_t, kDtypeCount> kTensorTypes = {0, 1, 30, 26, 2,  3,
                                                                 6, 7, 8,  12, 13, 14};

}  // namespace

std::uint32_t gguf_tensor_type(Dtype dtype) {
  return kTensorTypes[static_cast<std::size_t>(dtype)];
}

std::optional<Dtype> dtype_from_gguf(std::uint32_t tensor_type) {
  for (std::size_t i = 0; i < kTensorTypes.size(); ++i) {
    if (kTensorTypes[i] == tensor_type) {
      return static_cast<Dtype>(i);
    }
  }
  return std::nullopt;
}

}  // namespace l2a
