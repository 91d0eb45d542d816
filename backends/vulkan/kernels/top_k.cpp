#include "ops/top_k.h"

#include <algorithm>

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

constexpr std::int64_t kMost = 1024;  // k: they are put in order in shared memory
// At least: lavapipe ends the loops of an invocation after 65535 turns in all, with no word.
constexpr std::uint32_t kLanes = 256;

void record(const Call& call) {
  const ValueInfo& x = call.input(TopK::kX);
  struct {
    VkDeviceAddress x, y;
    std::uint32_t width, count;
  } push{call.address(TopK::kX), call.output_address(), row_width(x),
         static_cast<std::uint32_t>(call.attributes<TopK>().k)};
  call.recorder.dispatch("top_k", std::max(call.tuning().argmax_lanes, kLanes), {}, push,
                         {.y = row_count(x)});
}

bool supports(const Graph& /*graph*/, const Node& node) {
  return static_cast<const TopK&>(*node.op).k <= kMost;
}

}  // namespace

const Kernel kTopK = {TopK::kName, record, nullptr, supports};

}  // namespace l2a::vulkan
