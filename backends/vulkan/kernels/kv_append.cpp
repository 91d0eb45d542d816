#include "ops/kv_append.h"

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

void record(const Call& call) {
  const ValueInfo &x = call.input(KvAppend::kX), &cache = call.output();
  struct {
    VkDeviceAddress x, positions, cache;
    std::uint32_t width, tokens, capacity, sinks;
  } push{call.address(KvAppend::kX),
         call.address(KvAppend::kPositions),
         call.output_address(),
         row_width(x),
         row_count(x),
         row_count(cache),
         static_cast<std::uint32_t>(call.attributes<KvAppend>().sinks)};
  call.recorder.dispatch(
      "kv_append", call.tuning().workgroup,
      {static_cast<std::uint32_t>(x.dtype), static_cast<std::uint32_t>(cache.dtype)}, push,
      row_grid(call, push.width, 1, push.tokens, kNoValue));
}

}  // namespace

const Kernel kKvAppend = {KvAppend::kName, record};

}  // namespace l2a::vulkan
