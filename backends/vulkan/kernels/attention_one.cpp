#include "backends/vulkan/kernels/attention_one.h"

#include <algorithm>
#include <bit>
#include <vector>

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

constexpr std::uint32_t kAhead = 2;       // keys of a lane: with more, short contexts take longer
constexpr std::uint32_t kLeast = 64;      // keys of a part: fewer are not worth merging
constexpr std::uint32_t kCounters = 256;  // bytes of them, as in the shader

// Of a dispatch.
struct Plan {
  std::uint32_t rows = 1,
                tiles = 1;   // of a key head: queries of a workgroup, and workgroups of those
  std::uint32_t parts = 1;   // of the keys
  std::uint32_t spread = 1;  // of as many workgroups as attention has elsewhere, one in so many
  std::uint32_t subgroups = 8;
  std::uint32_t fewest = 0, too_many = UINT32_MAX;  // keys
};

// Few keys take as long as it takes to go through them one after another: a workgroup has one query, and little at a
// time. Of many, reading is what takes long: the queries of a key head share it. Which it is, each token tells:
// there are two dispatches, one of which has nothing to do.
std::vector<Plan> plans_for(const Tuning& tuning, const AttentionOne& call) {
  const FinishHeads& heads = call.heads;
  const std::uint32_t group = heads.query_heads / heads.key_heads;
  const std::uint32_t most_rows = heads.dim > 128 ? 4 : 8;  // in registers
  std::int64_t most_keys = heads.capacity;
  if (call.options.window > 0)
    most_keys = std::min(most_keys, call.options.window + call.options.sinks);
  const std::uint32_t many = tuning.attention_many;
  std::vector<Plan> plans;
  if (heads.query_heads <= kCounters / 4) {
    plans.push_back({.tiles = group, .too_many = many});
  }
  if (plans.empty() || most_keys > many) {
    const std::uint32_t tiles = ceil_div(group, most_rows);
    // Workgroups that have to wait for room cost more than long parts.
    plans.push_back({.rows = ceil_div(group, tiles),
                     .tiles = tiles,
                     .spread = 2,
                     .fewest = plans.empty() ? 0 : many});
  }
  for (Plan& plan : plans) {
    plan.parts = attention_parts(tuning, heads.key_heads * plan.tiles * plan.spread,
                                 std::min<std::int64_t>(most_keys, plan.too_many), 0);
    // Sums of all subgroups meet in shared memory, of which 16 KiB must do.
    while (plan.subgroups > 1 && plan.subgroups * plan.rows * heads.dim > 4096) plan.subgroups /= 2;
    while (plan.subgroups > 1 && plan.subgroups * tuning.subgroup > 256) plan.subgroups /= 2;
  }
  return plans;
}

}  // namespace

bool attention_one_fits(const Device& device, const AttentionOne& call) {
  const FinishHeads& heads = call.heads;
  return device.tuning().joins && heads.tokens == 1 && heads.query_heads > 0 && heads.dim >= 64 &&
         std::has_single_bit(heads.dim) &&
         heads.key_heads * plans_for(device.tuning(), call).back().tiles <= kCounters / 4;
}

std::size_t attention_one_bytes(const Tuning& tuning, const AttentionOne& call) {
  std::size_t most = 0;
  for (const Plan& plan : plans_for(tuning, call)) {
    most = std::max(most, std::size_t{call.heads.key_heads} * plan.tiles * plan.parts * plan.rows *
                              (call.heads.dim + 4) * sizeof(float));
  }
  return kCounters + most;
}

void record_attention_one(Recorder& recorder, const AttentionOne& call) {
  const Tuning& tuning = recorder.tuning();
  const FinishHeads& heads = call.heads;
  const FinishHeads::Part &query = heads.query, &key = heads.key, &value = heads.value;
  const auto limited = [](std::int64_t x) {
    return static_cast<std::uint32_t>(std::min<std::int64_t>(x, INT32_MAX));
  };
  const Link link = recorder.link();
  struct {
    VkDeviceAddress query, key, value, query_bias, key_bias, value_bias, query_norm, key_norm;
    VkDeviceAddress table, positions, keys, values, parts, y, links;
    std::uint32_t capacity, unused;
  } push{query.x,    key.x,    value.x,     query.bias,      key.bias,   value.bias,
         query.norm, key.norm, heads.table, heads.positions, heads.keys, heads.values,
         call.parts, call.y,   link.links,  heads.capacity,  0};
  for (const Plan& plan : plans_for(tuning, call)) {
    recorder.dispatch("attention_one", plan.subgroups * tuning.subgroup,
                      {heads.dim,
                       heads.key_heads,
                       heads.query_heads / heads.key_heads,
                       plan.rows,
                       static_cast<std::uint32_t>(heads.cache),
                       heads.half ? 1u : 0u,
                       heads.biases(),
                       heads.norms(),
                       std::min(kAhead, tuning.attention_ahead),
                       plan.parts,
                       std::bit_cast<std::uint32_t>(heads.eps),
                       heads.sinks,
                       limited(call.options.window),
                       limited(call.options.sinks),
                       link.waits,
                       link.raises,
                       link.looks,
                       kLeast,
                       plan.fewest,
                       plan.too_many},
                      push, {.x = heads.key_heads, .y = plan.tiles, .z = plan.parts});
  }
}

}  // namespace l2a::vulkan
