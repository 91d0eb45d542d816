// Products of up to eight tokens with quantized weights. Blocks have awkward sizes (34, 210 bytes), so a warp streams
// its rows into shared memory as plain bytes, 16 at a time, several chunks ahead of what it computes; then each lane
// unpacks its share (units.cuh) and multiplies it with 8-bit activations by dp4a. Bound by reading the weights: on an
// H200 a multiprocessor has some 19 bytes a cycle to take in, and 64 KiB or more under way.
#include "backends/cuda/kernels/async_copy.cuh"
#include "backends/cuda/kernels/matvec.cuh"
#include "backends/cuda/kernels/units.cuh"

namespace l2a::cuda {
namespace {

constexpr int kThreads = 32 * kMatvecWarps;

template <Dtype dtype>
struct Layout {
  static constexpr int kChunkBytes = 32 / Unit<dtype>::kLanes * Unit<dtype>::kBlockBytes;
  // Up to 15 bytes before a row's own, and the last word's neighbour after.
  static constexpr int kRowBytes = (kChunkBytes + 15 + 4 + 15) / 16 * 16;
  static constexpr int kStages = kChunkBytes <= 1200 ? 4 : 3;
  static constexpr int kWarpBytes = kStages * 2 * kRowBytes;
  static constexpr int kSharedBytes = kMatvecWarps * kWarpBytes;
};

template <Dtype dtype, int columns>
__global__ void __launch_bounds__(kThreads, 2)
    quantized_matvec_kernel(const __grid_constant__ MatvecTasks tasks, Columns x,
                            QuantizedColumns activations) {
  using Format = Unit<dtype>;
  using Place = Layout<dtype>;
  extern __shared__ std::uint8_t shared[];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  let_later_start();
  // Weights need not wait for what computes the activations. Those of a compact tensor do: with no row to multiply,
  // nothing of them is read.
  int tokens = min(x.tokens, columns);
  if (x.rows != nullptr) {
    wait_for_earlier();
    tokens = min(tokens, x.rows[0]);
    if (tokens == 0) return;
  }
  const std::int64_t row_bytes =
      static_cast<std::int64_t>(x.inner /
                                (32 * Format::kPieces * Format::kWords / 8 * Format::kLanes)) *
      Format::kBlockBytes;
  const int chunks = (x.inner + Format::kChunk - 1) / Format::kChunk;
  const int stride = kMatvecWarps * static_cast<int>(gridDim.x), total = tasks.total();
  const int first = warp * static_cast<int>(gridDim.x) + static_cast<int>(blockIdx.x);
  const int steps = first < total ? ((total - first + stride - 1) / stride) * chunks : 0;
  std::uint8_t* const ring = shared + warp * Place::kWarpBytes;

  // Brings the rows' bytes of one chunk; where they begin in shared memory is where they do in 16 bytes of the file.
  int fetched = 0, fetch_chunk = 0, fetch_task = first;
  MatvecRows fetch_rows{};
  auto fetch = [&] {
    if (fetched < steps) {
      if (fetch_chunk == 0) fetch_rows = tasks.rows(fetch_task, row_bytes);
      std::uint8_t* const stage = ring + fetched % Place::kStages * 2 * Place::kRowBytes;
      const std::int64_t at = static_cast<std::int64_t>(fetch_chunk) * Place::kChunkBytes;
      const int bytes =
          static_cast<int>(min(row_bytes - at, static_cast<std::int64_t>(Place::kChunkBytes)));
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        if (r == 1 && !fetch_rows.second) break;
        const std::byte* from = fetch_rows.row[r] + at;
        const int before = static_cast<int>(reinterpret_cast<std::uintptr_t>(from) & 15);
        for (int b = 16 * lane; b < before + bytes; b += 16 * 32)
          copy16(stage + r * Place::kRowBytes + b, from - before + b);
      }
      ++fetched;
      if (++fetch_chunk == chunks) {
        fetch_chunk = 0;
        fetch_task += stride;
      }
    }
    commit_copies();
  };
  for (int i = 0; i < Place::kStages - 1; ++i) fetch();
  if (x.rows == nullptr) wait_for_earlier();

  int task = first, chunk = 0;
  MatvecRows rows{};
  float sums[2][columns] = {};
  for (int step = 0; step < steps; ++step) {
    if (chunk == 0) rows = tasks.rows(task, row_bytes);
    wait_copies<Place::kStages - 2>();
    __syncwarp();
    fetch();  // into the stage that all lanes have finished with
    const std::uint8_t* const stage = ring + step % Place::kStages * 2 * Place::kRowBytes;
    const int begin = chunk * Format::kChunk;
    if (begin + Format::offset(lane, 0) < x.inner) {
      const std::int64_t at = static_cast<std::int64_t>(chunk) * Place::kChunkBytes;
      Format unit[2];
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const int before =
            static_cast<int>(reinterpret_cast<std::uintptr_t>(rows.row[r] + at) & 15);
        unit[r].load(
            stage + r * Place::kRowBytes + before + lane / Format::kLanes * Format::kBlockBytes,
            lane % Format::kLanes);
      }
#pragma unroll
      for (int c = 0; c < columns; ++c) {
        if (c >= tokens) break;
#pragma unroll
        for (int piece = 0; piece < Format::kPieces; ++piece) {
          const std::int64_t from =
              static_cast<std::int64_t>(c) * x.inner + begin + Format::offset(lane, piece);
          int dots[2] = {};
#pragma unroll
          for (int quad = 0; quad < Format::kWords / 4; ++quad) {
            const int4 v = *reinterpret_cast<const int4*>(activations.q + from + 16 * quad);
            const int values[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
            for (int r = 0; r < 2; ++r) {
#pragma unroll
              for (int j = 0; j < 4; ++j)
                dots[r] =
                    __dp4a(static_cast<int>(unit[r].q[piece][4 * quad + j]), values[j], dots[r]);
            }
          }
          const float scale = activations.scale[from / 32];
          const float sum = Format::kMin ? activations.sum[from / 32] : 0.0f;
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            sums[r][c] += unit[r].d[piece] * scale * static_cast<float>(dots[r]);
            if constexpr (Format::kMin) sums[r][c] += unit[r].m[piece] * sum;
          }
        }
      }
    }
    if (++chunk < chunks) continue;
#pragma unroll
    for (int c = 0; c < columns; ++c) {
      if (c >= tokens) break;
      const float a = warp_sum(sums[0][c]), b = warp_sum(sums[1][c]);
      if (lane == 0) tasks.store(rows, c, a, b);
      sums[0][c] = sums[1][c] = 0;
    }
    chunk = 0;
    task += stride;
  }
}

template <Dtype dtype, int columns>
void launch_columns(const Matvec& matvec) {
  constexpr int kBytes = Layout<dtype>::kSharedBytes;
  static_assert(kBytes <= 99 * 1024, "more than a block has on every supported device");
  const auto kernel = quantized_matvec_kernel<dtype, columns>;
  check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
        "matmul");
  const MatvecTasks tasks = tasks_of(matvec);
  launch_chained(
      {matvec_blocks(tasks, matvec, 2), kThreads, kBytes, matvec.stream, matvec.device.chains()},
      kernel, tasks, matvec.columns, matvec.quantized);
}

template <Dtype dtype>
void launch(const Matvec& matvec) {
  if (matvec.columns.tokens == 1) {
    launch_columns<dtype, 1>(matvec);
  } else {
    launch_columns<dtype, kMatvecTokens>(matvec);
  }
}

}  // namespace

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
