// y[t, n] = x[t, :] . w[n, :].
//
// Up to eight tokens are bound by reading the weights once: a warp streams rows (matvec). More are bound by arithmetic
// and go to the tensor cores in f16 or bf16 with f32 sums, on Hopper by wgmma: quantized weights are expanded to f16 a
// slab at a time, or where int8 was asked for brought to 8 bits as activations are, and multiplied as integers
// (grouped_product.cu). Weights that are f32, or whose rows are no multiple of 16 bytes, take plain f32 arithmetic.
//
// What is rounded: quantized weights meet activations of 8 bits a value (up to eight tokens) or f16 ones (more), or with
// int8 are rounded themselves, each 256 of a row to 127ths of the largest, and meet activations that are, too;
// f16 and bf16 weights meet f32 activations (up to eight tokens) or activations of their own type (more).
#include <algorithm>

#include "backends/cuda/kernels/device_math.cuh"
#include "backends/cuda/kernels/kernels.h"
#include "backends/cuda/kernels/matmul_parts.h"
#include "ops/matmul.h"

namespace l2a::cuda {
namespace {

// A slab of f16. Small enough to stay in the second-level cache between the two kernels; on Hopper, where a product has
// fewer and larger tiles, most weights whole, so that few tiles are left over for a last round.
constexpr std::int64_t kSlabElements = std::int64_t{16} << 20;
constexpr std::int64_t kHopperSlabElements = std::int64_t{64} << 20;
constexpr std::size_t kAlign = 256;

std::size_t round_up(std::size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

enum class Path : std::uint8_t { quantized_matvec, float_matvec, tensor_cores, integers, simt };

Path path_of(const CudaCall& call) {
  const TensorView &x = call.inputs[Matmul::kX], &weight = call.inputs[Matmul::kWeight];
  const bool few = x.shape[0] <= kMatvecTokens;
  if (dtype_info(weight.dtype).quantized) {
    if (few) return Path::quantized_matvec;
    return call.device.prefill == PrefillPrecision::int8 ? Path::integers : Path::tensor_cores;
  }
  const bool whole = weight.strides[0] % 16 == 0 && aligned16(weight.data) && aligned16(x.data) &&
                     x.shape[1] % 8 == 0;
  if (!whole) return Path::simt;
  if (few) return Path::float_matvec;
  return weight.dtype == Dtype::f32 ? Path::simt : Path::tensor_cores;
}

// How many rows of a quantized weight are expanded at a time.
std::int64_t slab_rows_of(const TensorView& weight, std::int64_t most_elements) {
  constexpr std::int64_t kTile = 128;
  const std::int64_t fit =
      std::max<std::int64_t>(most_elements / weight.shape[1] / kTile * kTile, kTile);
  return std::min(weight.shape[0], fit);
}

// The tensor cores' operands in the workspace.
struct Staging {
  std::size_t x = 0, scale = 0, slab = 0, bytes = 0;  // offsets, and all of it
  std::int64_t slab_rows = 0;
};
Staging staging_of(const CudaCall& call) {
  const TensorView &x = call.inputs[Matmul::kX], &weight = call.inputs[Matmul::kWeight];
  const auto tokens = static_cast<std::size_t>(x.shape[0]);
  const std::int64_t inner = x.shape[1];
  Staging staging;
  staging.scale = round_up(tokens * static_cast<std::size_t>(inner) * 2);
  staging.slab = staging.scale + round_up(tokens * sizeof(float));
  staging.bytes = staging.slab;
  if (dtype_info(weight.dtype).quantized) {
    staging.slab_rows =
        slab_rows_of(weight, call.device.hopper() ? kHopperSlabElements : kSlabElements);
    staging.bytes += round_up(static_cast<std::size_t>(staging.slab_rows * inner) * 2);
  }
  return staging;
}

// The same of integers.
struct IntegerStaging {
  std::int64_t tokens = 0, inner = 0, slab_rows = 0;

  static IntegerStaging of(const CudaCall& call) {
    const Shape& x = call.inputs[Matmul::kX].shape;
    return {x[0], x[1], slab_rows_of(call.inputs[Matmul::kWeight], kHopperSlabElements)};
  }
  std::size_t slab() const { return round_up(GroupedRows::bytes(tokens, inner)); }
  std::size_t bytes() const { return slab() + GroupedRows::bytes(slab_rows, inner); }
};

std::size_t workspace_bytes(const CudaCall& call) {
  const Shape& x = call.inputs[Matmul::kX].shape;
  switch (path_of(call)) {
    case Path::quantized_matvec:
      return prepares_token(call.inputs[Matmul::kWeight].dtype, x[0], x[1], call.device)
                 ? 0
                 : QuantizedColumns::bytes(x[0], x[1]);
    case Path::tensor_cores:
      return staging_of(call).bytes;
    case Path::integers:
      return IntegerStaging::of(call).bytes();
    default:
      return 0;
  }
}

void product_of_halves(const CudaCall& call, const HalfProduct& product) {
  if (call.device.hopper()) {
    hopper_product(product, call.device, call.stream);
  } else {
    half_product(product, call.stream);
  }
}

void tensor_cores(const CudaCall& call, const Columns& columns) {
  const TensorView& weight = call.inputs[Matmul::kWeight];
  const bool quantized = dtype_info(weight.dtype).quantized;
  const Dtype dtype = quantized ? Dtype::f16 : weight.dtype;
  const Staging staging = staging_of(call);
  auto* scale = reinterpret_cast<float*>(call.workspace + staging.scale);
  half_columns(dtype, columns, call.workspace, scale, call.stream);

  HalfProduct product;
  product.dtype = dtype;
  product.x = call.workspace;
  product.scale = dtype == Dtype::f16 ? scale : nullptr;
  product.tokens = columns.tokens;
  product.inner = columns.inner;
  product.rows = columns.rows;
  product.stride = static_cast<int>(weight.shape[0]);
  if (!quantized) {
    product.weight = weight.data;
    product.out = call.out<float>();
    product.outer = product.stride;
    product_of_halves(call, product);
    return;
  }
  std::byte* slab = call.workspace + staging.slab;
  for (std::int64_t begin = 0; begin < weight.shape[0]; begin += staging.slab_rows) {
    const std::int64_t count = std::min(staging.slab_rows, weight.shape[0] - begin);
    expand_blocks(weight.dtype, weight.data + begin * weight.strides[0], count * columns.inner,
                  slab, call.stream);
    product.weight = slab;
    product.out = call.out<float>() + begin;
    product.outer = static_cast<int>(count);
    product_of_halves(call, product);
  }
}

void integers(const CudaCall& call, const Columns& columns) {
  const TensorView& weight = call.inputs[Matmul::kWeight];
  const IntegerStaging staging = IntegerStaging::of(call);
  GroupedProduct product;
  product.x = GroupedRows::in(call.workspace, staging.tokens, staging.inner);
  product.weight =
      GroupedRows::in(call.workspace + staging.slab(), staging.slab_rows, staging.inner);
  product.tokens = columns.tokens;
  product.inner = columns.inner;
  product.rows = columns.rows;
  product.stride = static_cast<int>(weight.shape[0]);
  group_columns(columns, product.x, call.stream);
  for (std::int64_t begin = 0; begin < weight.shape[0]; begin += staging.slab_rows) {
    product.outer = static_cast<int>(std::min(staging.slab_rows, weight.shape[0] - begin));
    product.out = call.out<float>() + begin;
    group_blocks(weight.dtype, weight.data + begin * weight.strides[0], product.outer,
                 columns.inner, product.weight, call.stream);
    grouped_product(product, call.device, call.stream);
  }
}

void run(const CudaCall& call) {
  const TensorView &x = call.inputs[Matmul::kX], &weight = call.inputs[Matmul::kWeight];
  const Columns columns{call.in<float>(Matmul::kX), static_cast<int>(x.shape[0]),
                        static_cast<int>(x.shape[1]), call.in<std::int32_t>(Matmul::kRows)};
  const Product product{weight.data, static_cast<int>(weight.shape[0]), call.out<float>()};
  const Path path = path_of(call);
  if (path == Path::simt) return simt_product(weight.dtype, columns, product, call.stream);
  if (path == Path::tensor_cores) return tensor_cores(call, columns);
  if (path == Path::integers) return integers(call, columns);
  Matvec matvec;
  matvec.dtype = weight.dtype;
  matvec.columns = columns;
  matvec.products[0] = product;
  matvec.device = call.device;
  matvec.stream = call.stream;
  if (path == Path::float_matvec) return float_matvec(matvec);
  if (!prepares_token(weight.dtype, x.shape[0], x.shape[1], call.device)) {
    matvec.quantized = QuantizedColumns::in(call.workspace, x.shape[0], x.shape[1]);
    quantize_columns(columns, matvec.quantized, call.device, call.stream);
  }
  quantized_matvec(matvec);
}

}  // namespace

const CudaKernel kMatmul = {Matmul::kName, run, workspace_bytes};

}  // namespace l2a::cuda
