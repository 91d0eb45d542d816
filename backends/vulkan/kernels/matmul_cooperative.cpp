#include "backends/vulkan/kernels/matmul_cooperative.h"

#include <array>

#include "backends/vulkan/kernels/kernels.h"
#include "backends/vulkan/spirv.h"
#include "ops/matmul.h"

namespace l2a::vulkan {
namespace {

constexpr std::uint32_t kStep = 32;  // columns; as the shader's kChunk

// How a workgroup's outputs are laid out: matrices of a subgroup, and subgroups, by weight rows and by tokens.
struct Tile {
  std::uint32_t block_rows, block_tokens, group_rows, group_tokens;

  std::uint32_t rows(const MatrixShape& shape) const { return block_rows * group_rows * shape.m; }
  std::uint32_t tokens(const MatrixShape& shape) const {
    return block_tokens * group_tokens * shape.n;
  }
  // Of shared memory: two steps of both operands, in rows that are a vector longer.
  std::uint32_t bytes(const MatrixShape& shape) const {
    return 2 * (rows(shape) + tokens(shape)) * (kStep * 2 + 16);
  }
  std::uint32_t groups(const MatrixShape& shape, std::uint32_t outputs, std::uint32_t count) const {
    return ceil_div(outputs, rows(shape)) * ceil_div(count, tokens(shape));
  }
};

// The largest that gives every multiprocessor work: of matrices of 16 x 16, from 128 x 128 down.
constexpr std::array<std::array<std::uint32_t, 2>, 4> kGroups = {{{2, 4}, {2, 2}, {1, 2}, {1, 1}}};

Tile tile_for(const Device& device, std::uint32_t outputs, std::uint32_t tokens) {
  const MatrixShape& shape = device.physical().matrices;
  const Tuning& tuning = device.tuning();
  Tile tile{};
  for (const auto [group_rows, group_tokens] : kGroups) {
    tile = {tuning.cooperative_rows, tuning.cooperative_tokens, group_rows, group_tokens};
    const bool fits =
        tile.bytes(shape) <= device.physical().properties.limits.maxComputeSharedMemorySize &&
        tile.group_rows * tile.group_tokens * tuning.subgroup <=
            device.physical().properties.limits.maxComputeWorkGroupInvocations;
    if (fits && tokens * 2 > tile.tokens(shape) &&
        tile.groups(shape, outputs, tokens) >= tuning.product_groups) {
      break;
    }
  }
  return tile;
}

}  // namespace

bool cooperative_takes(const Call& matmul) {
  const ValueInfo& weight = matmul.input(Matmul::kWeight);
  return matmul.tuning().cooperative && weight.dtype != Dtype::f32 &&
         weight.shape[1] % kStep == 0 && matmul.address(Matmul::kWeight) % 16 == 0 &&
         matmul.address(Matmul::kX) % 16 == 0 && matmul.output_address() % 16 == 0;
}

std::size_t cooperative_workspace(const Call& matmul) {
  const ValueInfo& x = matmul.input(Matmul::kX);
  return std::size_t{row_count(x)} * (std::size_t{row_width(x)} * 2 + sizeof(float));
}

void record_cooperative(const Call& matmul) {
  const ValueInfo &x = matmul.input(Matmul::kX), &weight = matmul.input(Matmul::kWeight);
  const ValueId rows = matmul.id(Matmul::kRows);
  const std::uint32_t width = row_width(x), tokens = row_count(x);
  const VkDeviceAddress scales = matmul.workspace + std::uint64_t{tokens} * width * 2;
  struct {
    VkDeviceAddress x, halves, scales;
    std::uint32_t width, unused;
  } halve{matmul.address(Matmul::kX), matmul.workspace, scales, width, 0};
  const std::uint32_t interleaved = dtype_info(weight.dtype).quantized ? 1 : 0;
  matmul.recorder.dispatch("halve_rows", matmul.tuning().workgroup, {interleaved}, halve,
                           {.y = tokens, .rows = rows});
  matmul.recorder.barrier();

  struct {
    VkDeviceAddress weight, halves, scales, y, rows;
    std::uint64_t row_bytes;
    std::uint32_t width, outputs, tokens, unused;
  } push{matmul.address(Matmul::kWeight),
         matmul.workspace,
         scales,
         matmul.output_address(),
         matmul.address(Matmul::kRows),
         dtype_bytes(weight.dtype, weight.shape[1]),
         width,
         row_count(weight),
         tokens,
         0};
  const Device& device = matmul.recorder.device();
  const MatrixShape& shape = device.physical().matrices;
  const Tile tile = tile_for(device, push.outputs, tokens);
  matmul.recorder.dispatch(shader_for(kCooperativeShader, weight.dtype),
                           tile.group_rows * tile.group_tokens * device.tuning().subgroup,
                           {row_kind(push.outputs % 4 == 0, matmul.split(Matmul::kWeight)), shape.m,
                            shape.n, shape.k, tile.block_rows, tile.block_tokens, tile.group_rows,
                            tile.group_tokens, rows != kNoValue ? 1u : 0u},
                           push,
                           {.x = ceil_div(push.outputs, tile.rows(shape)),
                            .y = ceil_div(tokens, tile.tokens(shape)),
                            .rows = rows,
                            .tile = tile.tokens(shape)});
}

}  // namespace l2a::vulkan
