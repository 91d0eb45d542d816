// Attention of one token with all that lies between the projections and it (shaders/attention_one.comp).
#pragma once

#include "backends/vulkan/kernels/finish_heads.h"
#include "ops/attention.h"

namespace l2a::vulkan {

struct AttentionOne {
  FinishHeads heads;  // of one token, with queries; their query_out is not written
  AttentionOptions options;
  VkDeviceAddress y = 0;      // [1, query heads, dim]
  VkDeviceAddress parts = 0;  // zeros before the first run; as many bytes as below
};
// Whether the shader can: addresses do not matter.
bool attention_one_fits(const Device& device, const AttentionOne& call);
std::size_t attention_one_bytes(const Tuning& tuning, const AttentionOne& call);
void record_attention_one(Recorder& recorder, const AttentionOne& call);

}  // namespace l2a::vulkan
