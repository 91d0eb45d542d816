#include "ops/argmax.h"

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

void record(const Call& call) {
  const ValueInfo& x = call.input(Argmax::kX);
  struct {
    VkDeviceAddress x, y;
    std::uint32_t width, unused;
  } push{call.address(Argmax::kX), call.output_address(), row_width(x), 0};
  call.recorder.dispatch("argmax", call.tuning().argmax_lanes, {vector_rows(push.width, push.x)},
                         push, {.y = row_count(x)});
}

}  // namespace

const Kernel kArgmax = {Argmax::kName, record};

}  // namespace l2a::vulkan
