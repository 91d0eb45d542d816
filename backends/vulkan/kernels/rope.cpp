// Rotary position embedding: the table of a run's positions, and the turns of every layer.
#include "ops/rope.h"

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

void record_table(const Call& call) {
  const Shape& shape = call.output().shape;
  struct {
    VkDeviceAddress positions, frequencies, y;
    std::uint32_t pairs;
    float factor;
  } push{call.address(RopeTable::kPositions), call.address(RopeTable::kFrequencies),
         call.output_address(), static_cast<std::uint32_t>(shape[1]),
         call.attributes<RopeTable>().factor};
  call.recorder.dispatch("rope_table", call.tuning().workgroup, {}, push,
                         row_grid(call, push.pairs, 1, row_count(call.output()), kNoValue));
}

void record_rope(const Call& call) {
  const Shape& shape = call.output().shape;
  struct {
    VkDeviceAddress x, table, y, rows;
    std::uint32_t pairs, heads;
  } push{call.address(Rope::kX),
         call.address(Rope::kTable),
         call.output_address(),
         call.address(Rope::kRows),
         static_cast<std::uint32_t>(shape[2] / 2),
         static_cast<std::uint32_t>(shape[1])};
  const std::uint32_t half = call.attributes<Rope>().pairing == RopePairing::half ? 1 : 0;
  call.recorder.dispatch(
      "rope", call.tuning().workgroup, {half, call.present(Rope::kRows) ? 1u : 0u}, push,
      row_grid(call, push.pairs * push.heads, 1, row_count(call.output()), call.id(Rope::kRows)));
}

}  // namespace

const Kernel kRopeTable = {RopeTable::kName, record_table};
const Kernel kRope = {Rope::kName, record_rope};

}  // namespace l2a::vulkan
