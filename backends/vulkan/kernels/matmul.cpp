// Products with a weight and rows of one: shaders/weights.glsl reads every dtype.
//
// Up to kMatvecTokens tokens are bound by reading the weights, more by arithmetic; each has its shader, the latter
// one of cooperative matrices where the device has them; but where matvec_many_tokens says so (device.h), the first has
// both. A compact left side runs the one that its upper bound asks for, on the rows that it has.
#include "ops/matmul.h"

#include <algorithm>
#include <bit>

#include "backends/vulkan/kernels/kernels.h"
#include "backends/vulkan/kernels/matmul_cooperative.h"
#include "ops/row_lookup.h"

namespace l2a::vulkan {
namespace {

constexpr std::uint32_t kMatvecTokens = 8;

// How rows of a weight can be read, and whether all loads of a row's values can be of four at a time; quantized rows
// always are whole chunks, and only their other side counts.
std::uint32_t row_kind_of(const Call& call, int input, VkDeviceAddress other) {
  const ValueInfo& weight = call.input(input);
  const VkDeviceAddress at = call.address(input);
  const DtypeInfo& info = dtype_info(weight.dtype);
  const bool weight_fits =
      info.quantized || at % (4 * static_cast<std::uint64_t>(info.block_bytes)) == 0;
  return row_kind(weight.shape[1] % 4 == 0 && weight_fits && other % 16 == 0, call.split(input));
}

void record_matmul(const Call& call) {
  const ValueInfo &x = call.input(Matmul::kX), &weight = call.input(Matmul::kWeight);
  struct {
    VkDeviceAddress weight, x, y, rows;
    std::uint64_t row_bytes;
    std::uint32_t width, outputs, tokens, zero;
  } push{call.address(Matmul::kWeight),
         call.address(Matmul::kX),
         call.output_address(),
         call.address(Matmul::kRows),
         dtype_bytes(weight.dtype, weight.shape[1]),
         static_cast<std::uint32_t>(weight.shape[1]),
         static_cast<std::uint32_t>(weight.shape[0]),
         row_count(x),
         0};
  const std::uint32_t kind = row_kind_of(call, Matmul::kWeight, push.x);
  const Tuning& tuning = call.tuning();
  const ValueId rows = call.id(Matmul::kRows);
  const std::uint32_t compact = call.present(Matmul::kRows) ? 1 : 0;
  const bool few = push.tokens <= kMatvecTokens;
  if (few || tuning.matvec_many_tokens > 0) {
    const std::uint32_t tokens = few ? std::bit_ceil(push.tokens) : tuning.matvec_many_tokens;
    const std::uint32_t each =
        std::max(tuning.matvec_rows / tokens, std::min(tuning.matvec_rows, 2u));
    if (tuning.matvec_row_a_lane) {
      call.recorder.dispatch(shader_for("matvec_row_a_lane", weight.dtype), tuning.subgroup,
                             {kind, each, tokens, compact, tuning.matvec_share_x ? 1u : 0u}, push,
                             {.x = ceil_div(push.outputs, each * tuning.subgroup),
                              .y = ceil_div(push.tokens, tokens),
                              .rows = rows,
                              .tile = tokens});
    } else {
      call.recorder.dispatch(shader_for("matvec", weight.dtype), tuning.subgroup,
                             {kind, each, tokens, compact}, push,
                             {.x = ceil_div(push.outputs, each), .rows = rows, .tile = tokens});
    }
    return;
  }
  if (cooperative_takes(call)) {
    record_cooperative(call);
    return;
  }
  const std::uint32_t tile_rows = tuning.tile_lanes_rows * tuning.tile_rows;
  const std::uint32_t tile_tokens = tuning.tile_lanes_tokens * tuning.tile_tokens;
  call.recorder.dispatch(shader_for("matmul", weight.dtype),
                         tuning.tile_lanes_rows * tuning.tile_lanes_tokens,
                         {kind, tuning.tile_lanes_rows, tuning.tile_lanes_tokens, tuning.tile_rows,
                          tuning.tile_tokens, compact},
                         push,
                         {.x = ceil_div(push.outputs, tile_rows),
                          .y = ceil_div(push.tokens, tile_tokens),
                          .rows = rows,
                          .tile = tile_tokens});
}

void record_lookup(const Call& call) {
  const ValueInfo& table = call.input(RowLookup::kTable);
  struct {
    VkDeviceAddress table, ids, y;
    std::uint64_t row_bytes;
    std::uint32_t width, unused;
  } push{call.address(RowLookup::kTable),
         call.address(RowLookup::kIds),
         call.output_address(),
         dtype_bytes(table.dtype, table.shape[1]),
         static_cast<std::uint32_t>(table.shape[1]),
         0};
  constexpr std::uint32_t kChunk = 32;  // values of a lane
  call.recorder.dispatch(
      shader_for("row_lookup", table.dtype), call.tuning().subgroup,
      {row_kind_of(call, RowLookup::kTable, push.y)}, push,
      {.x = ceil_div(push.width, kChunk * call.tuning().subgroup), .y = row_count(call.output())});
}

std::size_t workspace_bytes(const Call& call) {
  const bool many = row_count(call.input(Matmul::kX)) > kMatvecTokens;
  return many && cooperative_takes(call) ? cooperative_workspace(call) : 0;
}

// Quantized shaders load whole vectors of the other side.
bool supports_matmul(const Graph& graph, const Node& node) {
  const ValueId x = node.inputs[Matmul::kX];
  const bool quantized = dtype_info(graph.value(node.inputs[Matmul::kWeight]).info.dtype).quantized;
  return !quantized || (graph.root_offset(x) + graph.value(graph.root(x)).buffer_offset) % 16 == 0;
}

}  // namespace

const Kernel kMatmul = {Matmul::kName, record_matmul, workspace_bytes, supports_matmul};
const Kernel kRowLookup = {RowLookup::kName, record_lookup};

}  // namespace l2a::vulkan
