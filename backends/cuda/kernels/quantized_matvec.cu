// Products of up to eight tokens with quantized weights. Blocks have awkward sizes (34, 210 bytes), so a warp streams
// its rows into shared memory as plain bytes, 16 at a time, several chunks ahead of what it computes; then each lane
// unpacks its share (units.cuh) and multiplies it with 8-bit activations by dp4a. Bound by reading the weights: on an
// H200 a multiprocessor has some 19 bytes a cycle to take in, and 64 KiB or more under way.
#include "backends/cuda/kernels/matvec.cuh"
#include "backends/cuda/kernels/one_token.cuh"
#include "backends/cuda/kernels/quantize.cuh"
#include "backends/cuda/kernels/weight_ring.cuh"

namespace l2a::cuda {
namespace {

constexpr int kReserved = 1024 + 256;  // bytes of each block: the driver's, and block_sum's

template <Dtype dtype>
struct Layout : Chunks<dtype> {
  // As many warps as registers allow: more of them hide more latency. A single token has one block a multiprocessor, so
  // that its activations are prepared once there.
  static constexpr int warps(int columns) {
    return columns > 1 ? 8 : Chunks<dtype>::kChunkBytes <= 1200 ? 24 : 16;
  }
  static constexpr int blocks(int columns) { return columns > 1 ? 2 : 1; }
};

// How a launch shares a block's shared memory: prepared activations, barriers of all rings, then the rings of the warps.
struct Rings {
  int warps, stages, activation_bytes, barrier_bytes, bytes;
};
template <Dtype dtype, int columns>
Rings rings_of(const Matvec& matvec) {
  using Place = Layout<dtype>;
  constexpr int kFewStages = 3;
  Rings rings{};
  if (columns == 1)
    rings.activation_bytes =
        static_cast<int>((QuantizedColumns::bytes(1, matvec.columns.inner) + 15) / 16 * 16);
  rings.barrier_bytes = Place::warps(columns) * kMostStages * static_cast<int>(sizeof(Barrier));
  const int room = matvec.device.shared_bytes / Place::blocks(columns) - kReserved -
                   rings.activation_bytes - rings.barrier_bytes;
  rings.warps = std::clamp(room / (kFewStages * Place::kStageBytes), 1, Place::warps(columns));
  rings.stages = std::clamp(room / (rings.warps * Place::kStageBytes), 2, kMostStages);
  rings.bytes = rings.activation_bytes + rings.barrier_bytes +
                rings.warps * rings.stages * Place::kStageBytes;
  return rings;
}

// Activations that meet one lane's share of a chunk.
template <Dtype dtype>
struct Activations {
  using Format = Unit<dtype>;
  int4 q[Format::kPieces][Format::kWords / 4];
  float scale[Format::kPieces], sum[Format::kPieces];

  // Pieces are 32 values apart; `lane` points at the first of a row.
  __device__ void load(const QuantizedColumns& lane, std::int64_t begin) {
#pragma unroll
    for (int piece = 0; piece < Format::kPieces; ++piece) {
#pragma unroll
      for (int quad = 0; quad < Format::kWords / 4; ++quad)
        q[piece][quad] = *reinterpret_cast<const int4*>(lane.q + begin + 32 * piece + 16 * quad);
      scale[piece] = lane.scale[begin / 32 + piece];
      sum[piece] = Format::kMin ? lane.sum[begin / 32 + piece] : 0.0f;
    }
  }

  __device__ float dot(const Format& unit) const {
    float total = 0;
#pragma unroll
    for (int piece = 0; piece < Format::kPieces; ++piece) {
      int dots = 0;
#pragma unroll
      for (int quad = 0; quad < Format::kWords / 4; ++quad) {
        const int4 v = q[piece][quad];
        const int values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
        for (int j = 0; j < 4; ++j)
          dots = __dp4a(static_cast<int>(unit.q[piece][4 * quad + j]), values[j], dots);
      }
      total += unit.d[piece] * scale[piece] * static_cast<float>(dots);
      if constexpr (Format::kMin) total += unit.m[piece] * sum[piece];
    }
    return total;
  }
};

template <Dtype dtype, int columns>
__global__ void __launch_bounds__(32 * Layout<dtype>::warps(columns),
                                  Layout<dtype>::blocks(columns))
    quantized_matvec_kernel(const __grid_constant__ MatvecTasks tasks, Columns x,
                            QuantizedColumns activations,
                            const __grid_constant__ Preparation preparation, int stages,
                            int activation_bytes, int barrier_bytes) {
  using Format = Unit<dtype>;
  using Place = Layout<dtype>;
  extern __shared__ __align__(16) std::uint8_t shared[];
  let_later_start();
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  constexpr int kBlockElements = 4 * Format::kPieces * Format::kWords * Format::kLanes;
  const std::int64_t row_bytes =
      static_cast<std::int64_t>(x.inner / kBlockElements) * Format::kBlockBytes;
  const int stride = warps * static_cast<int>(gridDim.x);
  const int first = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  int total = tasks.total(columns > 1 || !preparation.router.spares_last);
  auto* const arrivals = reinterpret_cast<Barrier*>(shared + activation_bytes) + warp * stages;
  std::uint8_t* const memory =
      shared + activation_bytes + barrier_bytes + warp * stages * Place::kStageBytes;
  WeightRing<dtype> ring(tasks, row_bytes, memory, arrivals, stages, first, stride, total);
  // Weights need not wait for what computes the activations. Those of a compact tensor do: with no
  // row to multiply, nothing of them is read.
  int tokens = min(x.tokens, columns);
  [[maybe_unused]] const NormWeights norm(preparation, columns == 1 ? x.inner : 0);
  // A single token's own loads would queue behind all that the ring holds, so most of it comes after them.
  const int early = x.rows != nullptr ? 0 : columns > 1 ? stages - 1 : 1;
  ring.start(early);
  wait_for_earlier();
  if (x.rows != nullptr) {
    tokens = min(tokens, x.rows[0]);
    if (tokens == 0) return keep_addends(tasks);
    if (columns > 1) ring.start(stages - 1);
  }
  if constexpr (columns == 1) {
    activations = QuantizedColumns::in(reinterpret_cast<std::byte*>(shared), 1, x.inner);
    const bool routed = prepare_token(
        preparation, norm, x.x, x.inner, [&] { ring.start(stages - 1 - early); },
        [&](const float(&v)[4], bool inside, int at) {
          quantize_four(v, inside, activations, 0, x.inner, at);
        });
    if (preparation.router.spares_last && routed) {
      total = tasks.total();
      ring.extend(total);
    }
  }

  const int in_row = lane / Format::kLanes * Format::kBlockBytes, part = lane % Format::kLanes;
  const int offset = Format::offset(lane);
  const QuantizedColumns lane_activations{activations.q + offset, activations.scale + offset / 32,
                                          activations.sum + offset / 32};
  for (int task = first; task < total; task += stride) {
    const MatvecRows rows = tasks.rows(task, row_bytes);
    int place[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      place[r] = r * Place::kRowBytes + in_row +
                 static_cast<int>(reinterpret_cast<std::uintptr_t>(rows.row[r]) & 15);
    }
    float sums[2][columns] = {};
    for (int begin = 0; begin < x.inner; begin += Format::kChunk) {
      const bool inside = begin + offset < x.inner;
      Activations<dtype> column;
      if (inside) column.load(lane_activations, begin);
      const std::uint8_t* const bytes = ring.next();
      if (!inside) continue;
      Format unit[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) unit[r].load(bytes + place[r], part);
#pragma unroll
      for (int c = 0; c < columns; ++c) {
        if (c >= tokens) break;
        if (c > 0) column.load(lane_activations, static_cast<std::int64_t>(c) * x.inner + begin);
#pragma unroll
        for (int r = 0; r < 2; ++r) sums[r][c] += column.dot(unit[r]);
      }
    }
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      if (c >= tokens) break;
      const float a = warp_sum(sums[0][c]), b = warp_sum(sums[1][c]);
      if (lane == 0) tasks.store(rows, c, a, b);
    }
  }
}

template <Dtype dtype, int columns>
void launch_columns(const Matvec& matvec) {
  const Rings rings = rings_of<dtype, columns>(matvec);
  const auto kernel = quantized_matvec_kernel<dtype, columns>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, rings.bytes),
        "matmul");
  const MatvecTasks tasks = tasks_of(matvec);
  launch_chained({matvec_blocks(tasks, matvec, rings.warps, Layout<dtype>::blocks(columns)),
                  static_cast<unsigned>(32 * rings.warps), static_cast<std::size_t>(rings.bytes),
                  matvec.stream, matvec.device.chains()},
                 kernel, tasks, matvec.columns, matvec.quantized, matvec.preparation, rings.stages,
                 rings.activation_bytes, rings.barrier_bytes);
}

template <Dtype dtype>
void launch(const Matvec& matvec) {
  if (prepares_token(dtype, matvec.columns.tokens, matvec.columns.inner, matvec.device)) {
    launch_columns<dtype, 1>(matvec);
  } else {
    launch_columns<dtype, kMatvecTokens>(matvec);
  }
}

}  // namespace

bool prepares_token(Dtype dtype, std::int64_t tokens, std::int64_t inner,
                    const DeviceTraits& device) {
  const std::int64_t bytes =
      dtype_info(dtype).quantized ? QuantizedColumns::bytes(1, inner) : 4 * inner;
  return tokens == 1 && bytes <= device.shared_bytes / 2;
}

void quantized_matvec(const Matvec& matvec) {
  switch (matvec.dtype) {
    case Dtype::q4_0:
      return launch<Dtype::q4_0>(matvec);
    case Dtype::q4_1:
      return launch<Dtype::q4_1>(matvec);
    case Dtype::q5_0:
      return launch<Dtype::q5_0>(matvec);
    case Dtype::q5_1:
      return launch<Dtype::q5_1>(matvec);
    case Dtype::q8_0:
      return launch<Dtype::q8_0>(matvec);
    case Dtype::q4_k:
      return launch<Dtype::q4_k>(matvec);
    case Dtype::q5_k:
      return launch<Dtype::q5_k>(matvec);
    case Dtype::q6_k:
      return launch<Dtype::q6_k>(matvec);
    default:
      return;  // float weights go to float_matvec
  }
}

}  // namespace l2a::cuda
