// What lies between the projections of an attention and the attention itself, for every head of few
// tokens: bias, head norm, RoPE, and the append of keys and values (shaders/finish_heads.comp).
#pragma once

#include "backends/vulkan/kernel.h"

namespace l2a::vulkan {

struct FinishHeads {
  struct Part {
    VkDeviceAddress x = 0;     // [tokens, heads, dim]
    VkDeviceAddress bias = 0;  // [heads, dim]; 0: none
    VkDeviceAddress norm = 0;  // [dim]; 0: none
  };
  Part query, key, value;  // a query that is computed elsewhere has no heads
  std::uint32_t tokens = 0, query_heads = 0, key_heads = 0, dim = 0;
  float eps = 0;
  VkDeviceAddress table = 0;  // of RoPE
  bool half = true;           // its pairing
  VkDeviceAddress positions = 0, query_out = 0, keys = 0, values = 0;
  Dtype cache = Dtype::f32;  // not quantized
  std::uint32_t capacity = 0, sinks = 0;

  // By bit, whether queries, keys and values have one.
  std::uint32_t biases() const { return bits(query.bias, key.bias, value.bias); }
  std::uint32_t norms() const { return bits(query.norm, key.norm, value.norm); }

 private:
  static std::uint32_t bits(VkDeviceAddress a, VkDeviceAddress b, VkDeviceAddress c) {
    return (a != 0 ? 1u : 0u) | (b != 0 ? 2u : 0u) | (c != 0 ? 4u : 0u);
  }
};
void record_finish_heads(Recorder& recorder, const FinishHeads& call);

}  // namespace l2a::vulkan
