// One workgroup a row of each head.
#include "ops/rms_norm.h"

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

void record(const Call& call) {
  const Shape& shape = call.output().shape;
  const auto heads = static_cast<std::uint32_t>(shape.rank() == 3 ? shape[1] : 1);
  struct {
    VkDeviceAddress x, weight, y;
    std::uint32_t width, heads;
    float eps;
    std::uint32_t unused;
  } push{call.address(RmsNorm::kX),
         call.address(RmsNorm::kWeight),
         call.output_address(),
         static_cast<std::uint32_t>(shape.back()),
         heads,
         call.attributes<RmsNorm>().eps,
         0};
  // Short rows, such as heads, leave most of a wide workgroup idle.
  const std::uint32_t lanes =
      push.width <= 8 * call.tuning().subgroup ? call.tuning().subgroup : call.tuning().workgroup;
  call.recorder.dispatch(
      "rms_norm", lanes, {vector_rows(push.width, push.x, push.weight, push.y)}, push,
      {.x = heads, .y = row_count(call.output()), .rows = call.id(RmsNorm::kRows)});
}

}  // namespace

const Kernel kRmsNorm = {RmsNorm::kName, record};

}  // namespace l2a::vulkan
