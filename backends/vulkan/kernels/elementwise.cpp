// Sums, gates and casts: four elements a lane, bound by memory.
#include "backends/vulkan/kernels/kernels.h"
#include "ops/add.h"
#include "ops/cast.h"
#include "ops/silu_mul.h"

namespace l2a::vulkan {
namespace {

void record_add(const Call& call) {
  struct {
    VkDeviceAddress a, b, y;
    std::uint32_t width, unused;
  } push{call.address(Add::kA), call.address(Add::kB), call.output_address(),
         row_width(call.output()), 0};
  const std::uint32_t one_row = call.input(Add::kB).shape.rank() == 1 ? 1 : 0;
  call.recorder.dispatch(
      "add", call.tuning().workgroup, {vector_rows(push.width, push.a, push.b, push.y), one_row},
      push, row_grid(call, push.width, 4, row_count(call.output()), call.id(Add::kRows)));
}

void record_silu_mul(const Call& call) {
  struct {
    VkDeviceAddress gate, up, y;
    std::uint32_t width, unused;
  } push{call.address(SiluMul::kGate), call.address(SiluMul::kUp), call.output_address(),
         row_width(call.output()), 0};
  call.recorder.dispatch("silu_mul", call.tuning().workgroup,
                         {vector_rows(push.width, push.gate, push.up, push.y)}, push,
                         row_grid(call, push.width, 4, row_count(call.output()), kNoValue));
}

void record_cast(const Call& call) {
  const auto elements = static_cast<std::uint32_t>(call.output().shape.elements());
  struct {
    VkDeviceAddress x, y;
    std::uint32_t elements, unused;
  } push{call.address(Cast::kX), call.output_address(), elements, 0};
  call.recorder.dispatch("cast", call.tuning().workgroup,
                         {static_cast<std::uint32_t>(call.input(Cast::kX).dtype),
                          static_cast<std::uint32_t>(call.output().dtype)},
                         push, row_grid(call, elements, 1, 1, kNoValue));
}

}  // namespace

const Kernel kAdd = {Add::kName, record_add};
const Kernel kSiluMul = {SiluMul::kName, record_silu_mul};
const Kernel kCast = {Cast::kName, record_cast};

}  // namespace l2a::vulkan
