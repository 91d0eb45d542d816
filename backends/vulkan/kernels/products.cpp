#include "backends/vulkan/kernels/products.h"

#include <algorithm>
#include <bit>

#include "backends/vulkan/kernels/kernels.h"

namespace l2a::vulkan {
namespace {

// Whether rows of a dtype are read as aligned vectors of sixteen bytes (shaders/units.glsl).
bool reads_vectors(Dtype dtype) {
  return !dtype_info(dtype).quantized || dtype == Dtype::q8_0 || dtype == Dtype::q4_k ||
         dtype == Dtype::q5_k;
}

// Of shared memory, for one token's activations.
std::uint32_t staged_bytes(Dtype dtype, std::uint32_t width) {
  if (!dtype_info(dtype).quantized) return 4 * width;
  const bool has_minimum =
      dtype == Dtype::q4_1 || dtype == Dtype::q5_1 || dtype == Dtype::q4_k || dtype == Dtype::q5_k;
  return width + width / 32 * (has_minimum ? 12 : 4);
}

// For sums of a token's squares.
std::uint32_t squares_bytes(const Tuning& tuning) {
  return tuning.product_lanes / tuning.subgroup * 4;
}

// Where the largest is found, and what compilers may want.
constexpr std::uint32_t kOtherShared = 512;
constexpr std::size_t kFoundCounter = 16;  // bytes, as in the shader

}  // namespace

ProductsFit products_fit(const Device& device, Dtype dtype, std::uint32_t width,
                         std::uint32_t tokens) {
  const bool quantized = dtype_info(dtype).quantized;
  if (!device.tuning().joins || (quantized && !device.tuning().integer_dots) || width % 4 != 0 ||
      (reads_vectors(dtype) && dtype_bytes(dtype, width) % 16 != 0)) {
    return {};
  }
  const std::uint32_t all = device.physical().properties.limits.maxComputeSharedMemorySize;
  if (all <= kOtherShared) return {};
  const std::uint32_t shared = all - kOtherShared;
  const std::uint32_t each = staged_bytes(dtype, width) + squares_bytes(device.tuning());
  ProductsFit fit{std::bit_ceil(tokens), true};
  while (fit.tokens > 1 && fit.tokens * each > shared) fit.tokens /= 2;
  if (fit.tokens * each > shared) {
    if (quantized) return {};
    fit = {std::bit_ceil(tokens), false};
  }
  return fit;
}

std::size_t products_found_bytes(const Tuning& tuning) {
  return kFoundCounter + 8 * std::size_t{tuning.product_groups};
}

void record_products(Recorder& recorder, const Products& call) {
  const Tuning& tuning = recorder.tuning();
  const ProductsFit fit = products_fit(recorder.device(), call.dtype, call.width, call.tokens);
  const auto& [a, b, c] = call.each;
  const Link link = recorder.link();
  struct {
    VkDeviceAddress weights[3], ys[3], x, norm, addend, rows;
    std::uint32_t outputs[3], tokens, addend_pitch;
    float eps;
    VkDeviceAddress links, found, most_likely;
  } push{{a.weight, b.weight, c.weight},
         {a.y, b.y, c.y},
         call.x,
         call.norm,
         call.addend,
         call.rows,
         {a.outputs, b.outputs, c.outputs},
         call.tokens,
         call.addend_pitch,
         call.eps,
         link.links,
         call.found,
         call.most_likely};
  const std::uint32_t total = call.gated ? a.outputs : a.outputs + b.outputs + c.outputs;
  // The widest workgroups leave too few registers for the sums of many tokens.
  const std::uint32_t share = fit.tokens > 2 && tuning.product_lanes >= 2 * tuning.subgroup ? 2 : 1;
  const std::uint32_t lanes = tuning.product_lanes / share, groups = tuning.product_groups * share;
  const std::uint32_t subgroups = lanes / tuning.subgroup;
  // Two rows at a time share what is read of the activations; where that is not what takes long, it is worth more that
  // subgroups end together. As many subgroups as the device holds take one row each, if there are no more.
  const bool quantized = dtype_info(call.dtype).quantized;
  const bool one = !call.gated &&
                   ((call.dtype == Dtype::q8_0 && fit.tokens == 1) || total <= groups * subgroups);
  const std::uint32_t rows = one ? 1 : tuning.product_rows;
  // Of many tokens there is less room in registers.
  const std::uint32_t vectors = rows * (quantized ? 2 : 1);  // of a unit
  const std::uint32_t ahead = fit.tokens <= 2 ? std::max(tuning.product_vectors / vectors, 1u) : 1;
  const bool all_early = link.waits == 0 || call.late_x;
  const std::uint32_t early = all_early ? ahead * rows : ceil_div(ahead * rows, 2);
  const std::uint32_t outputs = call.gated ? rows / 2 : rows;
  const auto flag = [](bool set) { return set ? 1u : 0u; };
  const Grid grid{.x = std::min(ceil_div(total, outputs), groups),
                  .y = ceil_div(call.tokens, fit.tokens),
                  .rows = call.rows_id,
                  .tile = fit.tokens};
  recorder.dispatch(
      shader_for("products", call.dtype), lanes,
      {1, call.width, rows, fit.tokens, ahead, flag(call.rows != 0), flag(call.norm != 0),
       flag(call.gated), flag(call.addend != 0), flag(fit.stages),
       fit.stages ? ceil_div(call.width / 4, lanes) : 1, link.waits, link.raises, link.looks, early,
       flag(call.late_x), flag(call.most_likely != 0)},
      push, grid);
}

}  // namespace l2a::vulkan
