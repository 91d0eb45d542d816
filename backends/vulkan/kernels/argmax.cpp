#include "ops/argmax.h"

#include <algorithm>

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

// A lane's eight vectors are a part's least, below which a second dispatch costs more than it saves.
constexpr std::uint32_t kLeast = 32;

std::uint32_t parts_of(const Tuning& tuning, std::uint32_t width) {
  if (!tuning.gpu) return 1;
  return std::clamp(width / (kLeast * tuning.workgroup), 1u, tuning.workgroup);
}

std::size_t workspace_bytes(const Call& call) {
  const ValueInfo& x = call.input(Argmax::kX);
  const std::uint32_t parts = parts_of(call.tuning(), row_width(x));
  return parts > 1 ? std::size_t{row_count(x)} * parts * 8 : 0;
}

void record(const Call& call) {
  const ValueInfo& x = call.input(Argmax::kX);
  struct {
    VkDeviceAddress x, y, found;
    std::uint32_t width, unused;
  } push{call.address(Argmax::kX), call.output_address(), call.workspace, row_width(x), 0};
  const std::uint32_t aligned = vector_rows(push.width, push.x);
  const std::uint32_t parts = parts_of(call.tuning(), push.width);
  if (parts == 1) {
    call.recorder.dispatch("argmax", call.tuning().argmax_lanes, {aligned}, push,
                           {.y = row_count(x)});
    return;
  }
  const std::uint32_t lanes = call.tuning().workgroup;
  call.recorder.dispatch("argmax", lanes, {aligned, parts, 0}, push,
                         {.x = parts, .y = row_count(x)});
  call.recorder.barrier();
  call.recorder.dispatch("argmax", lanes, {aligned, parts, 1}, push, {.y = row_count(x)});
}

}  // namespace

const Kernel kArgmax = {Argmax::kName, record, workspace_bytes};

}  // namespace l2a::vulkan
