// A product of few tokens with up to three weights, and what of the nodes around it joins in
// (shaders/products.comp).
#pragma once

#include <array>

#include "backends/vulkan/kernel.h"

namespace l2a::vulkan {

struct Products {
  struct One {
    VkDeviceAddress weight = 0, y = 0;
    std::uint32_t outputs = 0;
  };
  static constexpr std::size_t kMost = 3;

  Dtype dtype = Dtype::f32;  // of all weights
  std::uint32_t width = 0, tokens = 0;
  std::array<One, kMost> each;
  bool gated = false;  // y[0] = silu(y[0]) * y[1], of which only y[0] is written
  VkDeviceAddress x = 0;
  bool late_x = false;       // comes from a dispatch that leaves memory idle
  VkDeviceAddress rows = 0;  // 0: x is not compact
  ValueId rows_id = kNoValue;
  VkDeviceAddress norm = 0;  // 0: x as it is, else its rms_norm
  float eps = 0;
  VkDeviceAddress addend = 0;  // 0: none; to y[0]
  std::uint32_t addend_pitch = 0;
  // Of one token, where the index of the largest of y[0] goes, and products_found_bytes() for who finds it, which are zero
  // before and after; 0: nobody looks.
  VkDeviceAddress most_likely = 0, found = 0;
};

void record_products(Recorder& recorder, const Products& call);
std::size_t products_found_bytes(const Tuning& tuning);

// What the shader can do on a device with products of this kind.
struct ProductsFit {
  std::uint32_t tokens = 0;  // that share a reading of the weights; 0: cannot be used
  bool stages = false;       // x is kept in shared memory, where norms are applied
};
ProductsFit products_fit(const Device& device, Dtype dtype, std::uint32_t width,
                         std::uint32_t tokens);

}  // namespace l2a::vulkan
