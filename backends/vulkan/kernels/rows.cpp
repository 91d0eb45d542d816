// Rows: which tokens are routed, moving their rows to a compact tensor and back, and putting rows of several tensors
// together.
#include "backends/vulkan/kernels/kernels.h"
#include "ops/cast.h"
#include "ops/concat_rows.h"
#include "ops/count_rows.h"
#include "ops/gather_rows.h"
#include "ops/route.h"
#include "ops/scatter_add_rows.h"

namespace l2a::vulkan {
namespace {

std::size_t route_workspace(const Call& call) {
  return sizeof(std::uint32_t) * row_count(call.input(Route::kX));
}

void record_route(const Call& call) {
  const ValueInfo& x = call.input(Route::kX);
  struct {
    VkDeviceAddress x, weight, bias, flags;
    std::uint32_t width;
    float cut;
  } logits{call.address(Route::kX),
           call.address(Route::kWeight),
           call.address(Route::kBias),
           call.workspace,
           row_width(x),
           call.attributes<Route>().cut};
  call.recorder.dispatch(
      "route_flags", call.tuning().workgroup,
      {vector_rows(logits.width, logits.x, logits.weight), call.present(Route::kBias) ? 1u : 0u},
      logits, {.y = row_count(x)});
  call.recorder.barrier();
  struct {
    VkDeviceAddress flags, rows;
    std::uint32_t tokens, unused;
  } compact{call.workspace, call.output_address(), row_count(x), 0};
  call.recorder.dispatch("route_compact", call.tuning().subgroup, {}, compact, {});
}

void record_gather(const Call& call) {
  struct {
    VkDeviceAddress x, y, rows;
    std::uint32_t width, unused;
  } push{call.address(GatherRows::kX), call.output_address(), call.address(GatherRows::kRows),
         row_width(call.output()), 0};
  call.recorder.dispatch(
      "gather_rows", call.tuning().workgroup, {vector_rows(push.width, push.x, push.y)}, push,
      row_grid(call, push.width, 4, row_count(call.output()), call.id(GatherRows::kRows)));
}

void record_copy(const Call& call, VkDeviceAddress from, VkDeviceAddress to, const Shape& shape) {
  struct {
    VkDeviceAddress x, y;
    std::uint32_t elements, unused;
  } push{from, to, static_cast<std::uint32_t>(shape.elements()), 0};
  const auto dtype = static_cast<std::uint32_t>(Dtype::f32);
  call.recorder.dispatch("cast", call.tuning().workgroup, {dtype, dtype}, push,
                         row_grid(call, push.elements, 1, 1, kNoValue));
}

// A dispatch a part; none waits for another.
void record_concat(const Call& call) {
  VkDeviceAddress to = call.output_address();
  for (int i = 0; i < call.inputs(); ++i) {
    const Shape& shape = call.input(i).shape;
    record_copy(call, call.address(i), to, shape);
    to += dtype_bytes(Dtype::f32, shape.elements());
  }
}

void record_scatter(const Call& call) {
  const VkDeviceAddress x = call.address(ScatterAddRows::kX), y = call.output_address();
  if (x != y) {
    record_copy(call, x, y, call.output().shape);
    call.recorder.barrier();
  }
  struct {
    VkDeviceAddress delta, y, rows;
    std::uint32_t width, unused;
  } push{call.address(ScatterAddRows::kDelta), y, call.address(ScatterAddRows::kRows),
         row_width(call.output()), 0};
  call.recorder.dispatch(
      "scatter_add_rows", call.tuning().workgroup, {vector_rows(push.width, push.delta, push.y)},
      push,
      row_grid(call, push.width, 4, row_count(call.output()), call.id(ScatterAddRows::kRows)));
}

void record_count(const Call& call) {
  struct {
    VkDeviceAddress tally, rows;
    std::uint32_t index, unused;
  } push{call.address(CountRows::kTally), call.address(CountRows::kRows),
         static_cast<std::uint32_t>(call.attributes<CountRows>().index), 0};
  call.recorder.dispatch("count_rows", call.tuning().subgroup, {}, push, {});
}

}  // namespace

const Kernel kRoute = {Route::kName, record_route, route_workspace};
const Kernel kGatherRows = {GatherRows::kName, record_gather};
const Kernel kConcatRows = {ConcatRows::kName, record_concat};
const Kernel kScatterAddRows = {ScatterAddRows::kName, record_scatter};
const Kernel kCountRows = {CountRows::kName, record_count};

}  // namespace l2a::vulkan
