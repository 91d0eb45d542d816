// Attention: one pass over the keys for each tile of queries. Tokens that see all keys beside others that
// see a window are two dispatches, each over its own tokens, so that one wide token does not make its
// neighbours read everything. Few queries are split over their keys, and the parts merged; on GPUs one token
// has a shader of its own.
#include "ops/attention.h"

#include <algorithm>
#include <bit>

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

constexpr std::int64_t kMaxDim = 256;       // of a head; queries and sums are in registers
constexpr std::uint32_t kKeysOfPart = 256;  // the fewest that are worth a part of their own
constexpr std::uint32_t kMostParts = 512;   // of the keys; as attention_combine.comp has room for
constexpr std::uint32_t kSubgroups = 4;     // of one of its workgroups

enum Queries : std::uint32_t { kAll, kCompact, kListed };  // as in attention.comp

struct Plan {
  std::uint32_t tile;   // queries of a workgroup
  std::uint32_t parts;  // that the keys are split into
};

Plan plan_for(const Call& call) {
  const ValueInfo &query = call.input(Attention::kQuery), &keys = call.input(Attention::kKeys);
  const Tuning& tuning = call.tuning();
  const auto key_heads = static_cast<std::uint32_t>(keys.shape[1]);
  const auto group = static_cast<std::uint32_t>(query.shape[1]) / key_heads;
  const std::uint32_t queries = row_count(query) * group;
  Plan plan{std::min(std::bit_ceil(queries), tuning.attention_rows), 1};
  if (query.shape[2] > 128)
    plan.tile = std::min(plan.tile, std::max(tuning.attention_rows / 2, 1u));
  const std::uint32_t groups = ceil_div(queries, plan.tile) * key_heads;
  const std::int64_t window = call.attributes<Attention>().options.window;
  const bool windowed = window > 0 && !call.present(Attention::kWideRows);
  plan.parts =
      attention_parts(tuning, groups, keys.shape[0], windowed ? window + row_count(query) : 0);
  return plan;
}

std::size_t workspace_bytes(const Call& call) {
  const Plan plan = plan_for(call);
  if (plan.parts == 1) return 0;
  const Shape& query = call.input(Attention::kQuery).shape;
  return static_cast<std::size_t>(query[0] * query[1] * (query[2] + 2)) * plan.parts *
         sizeof(float);
}

void record(const Call& call) {
  const ValueInfo &query = call.input(Attention::kQuery), &keys = call.input(Attention::kKeys);
  const AttentionOptions& options = call.attributes<Attention>().options;
  const Plan plan = plan_for(call);
  const auto dim = static_cast<std::uint32_t>(query.shape[2]);
  struct {
    VkDeviceAddress query, keys, values, fresh_keys, fresh_values, positions, rows, wide, y;
    std::uint32_t tokens, query_heads, key_heads, capacity, cache_sinks, window, sinks, unused;
  } push{call.address(Attention::kQuery),
         call.address(Attention::kKeys),
         call.address(Attention::kValues),
         call.address(Attention::kFreshKeys),
         call.address(Attention::kFreshValues),
         call.address(Attention::kPositions),
         call.address(Attention::kRows),
         call.address(Attention::kWideRows),
         plan.parts > 1 ? call.workspace : call.output_address(),
         row_count(query),
         static_cast<std::uint32_t>(query.shape[1]),
         static_cast<std::uint32_t>(keys.shape[1]),
         row_count(keys),
         static_cast<std::uint32_t>(options.cache_sinks),
         static_cast<std::uint32_t>(std::min<std::int64_t>(options.window, INT32_MAX)),
         static_cast<std::uint32_t>(std::min<std::int64_t>(options.sinks, INT32_MAX)),
         0};
  const std::uint32_t group = push.query_heads / push.key_heads;
  const std::uint32_t aligned =
      vector_rows(dim, push.query, push.keys, push.values, push.fresh_keys, push.fresh_values,
                  call.output_address());
  const bool few =
      call.tuning().joins && aligned == 1 && dim % 64 == 0 && push.tokens == 1 &&
      kSubgroups * call.tuning().subgroup <=
          call.recorder.device().physical().properties.limits.maxComputeWorkGroupInvocations;
  const auto dispatch = [&](Queries queries, ValueId rows) {
    call.recorder.dispatch(
        few ? "attention_few" : "attention", (few ? kSubgroups : 1) * call.tuning().subgroup,
        {aligned, static_cast<std::uint32_t>(keys.dtype), dim, group, plan.tile, queries,
         plan.parts > 1 ? 1u : 0u, call.present(Attention::kFreshKeys) ? 1u : 0u,
         queries == kAll && call.present(Attention::kWideRows) ? 1u : 0u,
         call.tuning().attention_ahead},
        push,
        {.x = push.key_heads,
         .y = ceil_div(std::uint64_t{push.tokens} * group, plan.tile),
         .z = plan.parts,
         .rows = rows,
         .scale = group,
         .tile = plan.tile});
  };
  const ValueId compact = call.id(Attention::kRows);
  dispatch(compact == kNoValue ? kAll : kCompact, compact);
  if (call.present(Attention::kWideRows)) {
    push.rows = push.wide;
    push.window = 0;
    dispatch(kListed, call.id(Attention::kWideRows));
  }
  if (plan.parts == 1) return;
  call.recorder.barrier();
  struct {
    VkDeviceAddress splits, y;
    std::uint32_t dim, heads, parts, unused;
  } combine{call.workspace, call.output_address(), dim, push.query_heads, plan.parts, 0};
  call.recorder.dispatch(
      "attention_combine",
      call.tuning().gpu ? std::max(128u, call.tuning().subgroup) : call.tuning().subgroup, {},
      combine, {.x = push.query_heads, .y = push.tokens, .rows = compact});
}

bool supports(const Graph& graph, const Node& node) {
  const ValueInfo& query = graph.value(node.inputs[Attention::kQuery]).info;
  return query.shape[2] <= kMaxDim;
}

}  // namespace

std::uint32_t attention_parts(const Tuning& tuning, std::uint32_t groups, std::int64_t capacity,
                              std::int64_t window) {
  const auto most = static_cast<std::uint64_t>(window > 0 ? std::min(window, capacity) : capacity);
  return std::clamp(std::min(tuning.attention_groups / groups, kMostParts), 1u,
                    std::max(ceil_div(most, kKeysOfPart), 1u));
}

const Kernel kAttention = {Attention::kName, record, workspace_bytes, supports};

}  // namespace l2a::vulkan
