#include "backends/vulkan/kernels/attention_one.h"

#include <algorithm>
#include <bit>

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

constexpr std::uint32_t kCounters = 256;  // bytes of them, as in the shader

struct Plan {
  std::uint32_t rows = 1,
                tiles = 1;  // of a key head: queries of a workgroup, and workgroups of those
  std::uint32_t parts = 1;  // of the keys
  std::uint32_t subgroups = 8;
};

Plan plan_for(const Tuning& tuning, const AttentionOne& call) {
  const FinishHeads& heads = call.heads;
  const std::uint32_t group = heads.query_heads / heads.key_heads;
  const std::uint32_t most_rows = heads.dim > 128 ? 4 : 8;  // in registers
  Plan plan;
  plan.tiles = ceil_div(group, most_rows);
  plan.rows = ceil_div(group, plan.tiles);
  plan.parts = attention_parts(tuning, heads.key_heads * plan.tiles, heads.capacity,
                               call.options.window > 0 ? call.options.window : 0);
  // Sums of all subgroups meet in shared memory, of which 16 KiB must do.
  while (plan.subgroups > 1 && plan.subgroups * plan.rows * heads.dim > 4096) plan.subgroups /= 2;
  while (plan.subgroups > 1 && plan.subgroups * tuning.subgroup > 256) plan.subgroups /= 2;
  return plan;
}

}  // namespace

bool attention_one_fits(const Device& device, const AttentionOne& call) {
  const FinishHeads& heads = call.heads;
  return device.tuning().joins && heads.tokens == 1 && heads.query_heads > 0 && heads.dim >= 64 &&
         std::has_single_bit(heads.dim) &&
         heads.key_heads * plan_for(device.tuning(), call).tiles <= kCounters / 4;
}

std::size_t attention_one_bytes(const Tuning& tuning, const AttentionOne& call) {
  const Plan plan = plan_for(tuning, call);
  return kCounters + std::size_t{call.heads.key_heads} * plan.tiles * plan.parts * plan.rows *
                         (call.heads.dim + 4) * sizeof(float);
}

void record_attention_one(Recorder& recorder, const AttentionOne& call) {
  const Tuning& tuning = recorder.tuning();
  const FinishHeads& heads = call.heads;
  const FinishHeads::Part &query = heads.query, &key = heads.key, &value = heads.value;
  const Plan plan = plan_for(tuning, call);
  const auto limited = [](std::int64_t x) {
    return static_cast<std::uint32_t>(std::min<std::int64_t>(x, INT32_MAX));
  };
  const Link link = recorder.link(heads.key_heads * plan.tiles);  // those that write a result
  struct {
    VkDeviceAddress query, key, value, query_bias, key_bias, value_bias, query_norm, key_norm;
    VkDeviceAddress table, positions, keys, values, parts, y, links;
    std::uint32_t link, capacity;
  } push{query.x,    key.x,    value.x,     query.bias,      key.bias,      value.bias,
         query.norm, key.norm, heads.table, heads.positions, heads.keys,    heads.values,
         call.parts, call.y,   link.links,  link.numbers,    heads.capacity};
  recorder.dispatch(
      "attention_one", plan.subgroups * tuning.subgroup,
      {heads.dim, heads.key_heads, heads.query_heads / heads.key_heads, plan.rows,
       static_cast<std::uint32_t>(heads.cache), heads.half ? 1u : 0u, heads.biases(), heads.norms(),
       tuning.attention_ahead, plan.parts, std::bit_cast<std::uint32_t>(heads.eps), heads.sinks,
       limited(call.options.window), limited(call.options.sinks), link.waits, link.raises,
       link.looks},
      push, {.x = heads.key_heads, .y = plan.tiles, .z = plan.parts});
}

}  // namespace l2a::vulkan
