#include "backends/vulkan/kernels/finish_heads.h"

namespace l2a::vulkan {

void record_finish_heads(Recorder& recorder, const FinishHeads& call) {
  const FinishHeads::Part &query = call.query, &key = call.key, &value = call.value;
  struct {
    VkDeviceAddress query, key, value, query_bias, key_bias, value_bias, query_norm, key_norm;
    VkDeviceAddress table, positions, query_out, keys, values;
    std::uint32_t tokens, capacity, sinks;
    float eps;
  } push{query.x,     key.x,       value.x,       query.bias,     key.bias,       value.bias,
         query.norm,  key.norm,    call.table,    call.positions, call.query_out, call.keys,
         call.values, call.tokens, call.capacity, call.sinks,     call.eps};
  recorder.dispatch("finish_heads", recorder.tuning().subgroup,
                    {call.dim, call.query_heads, call.key_heads, call.half ? 1u : 0u,
                     static_cast<std::uint32_t>(call.cache), call.biases(), call.norms()},
                    push, {.x = call.query_heads + 2 * call.key_heads, .y = call.tokens});
}

}  // namespace l2a::vulkan
