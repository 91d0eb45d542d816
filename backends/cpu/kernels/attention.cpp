// Causal attention over a cache, one pass over the keys with a running softmax (arXiv 2205.14135, algorithm 1).
//
// Work is split by (row, key head). The query heads that share a key head go through its keys together, so that
// each key is read and widened once for four of them. Keys come in blocks of kBlock positions: scores of a block
// stay in registers and first-level cache, and the output is rescaled once a block instead of once a key.
#include "ops/attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "backends/cpu/kernels/kernels.h"
#include "ops/kv_append.h"

namespace l2a::cpu {
namespace {

constexpr std::int64_t kBlock = 64;    // positions
constexpr std::int64_t kMaxGroup = 4;  // query heads at a time

struct Sources {
  const CpuCall& call;
  std::int64_t start;  // position of the run's first token

  const TensorView& input(int i) const { return call.inputs[static_cast<std::size_t>(i)]; }

  // Fills `rows` with the addresses of the keys or values of [first, last) for one head.
  void rows(int cache_input, int fresh_input, std::int64_t head, std::int64_t first,
            std::int64_t last, const std::byte** rows_out) const {
    const TensorView &cache = input(cache_input), &fresh = input(fresh_input);
    const std::int64_t cache_sinks = call.attributes<Attention>().options.cache_sinks;
    const std::int64_t cached_end = fresh ? std::min(last, std::max(first, start)) : last;
    std::int64_t position = first;
    if (position < cached_end) {
      // Slots follow one another, out of the sinks into the ring, and wrap at its end.
      std::int64_t slot = cache_slot(position, cache.shape[0], cache_sinks);
      for (; position < cached_end; ++position) {
        *rows_out++ = cache.row<const std::byte>(slot, head);
        if (++slot == cache.shape[0]) slot = cache_sinks;
      }
    }
    for (; position < last; ++position)
      *rows_out++ = fresh.row<const std::byte>(position - start, head);
  }
};

// One to four query heads of one row over the keys of one head.
class Group {
 public:
  Group(const Sources& sources, std::int64_t row, std::int64_t key_head, std::int64_t first_head,
        std::int64_t heads)
      : sources_(sources), key_head_(key_head), heads_(heads) {
    const CpuCall& call = sources.call;
    dim_ = call.output.shape[2];
    const Dtype dtype = sources.input(Attention::kKeys).dtype;
    kernel_ = &call.simd.float_row(dtype);
    scale_ = 1.0f / std::sqrt(static_cast<float>(dim_));
    for (std::int64_t h = 0; h < heads; ++h) {
      const auto i = static_cast<std::size_t>(h);
      query_[i] = sources.input(Attention::kQuery).row<const float>(row, first_head + h);
      out_[i] = call.output.row<float>(row, first_head + h);
      std::fill_n(out_[i], dim_, 0.0f);
      largest_[i] = -std::numeric_limits<float>::infinity();
      sum_[i] = 0;
    }
  }

  void see(std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += kBlock)
      block(first, std::min(first + kBlock, end));
  }

  void finish() {
    for (std::size_t h = 0; h < static_cast<std::size_t>(heads_); ++h) {
      const float inverse = 1.0f / sum_[h];
      for (std::int64_t d = 0; d < dim_; ++d) out_[h][d] *= inverse;
    }
  }

 private:
  void block(std::int64_t first, std::int64_t last) {
    const std::int64_t count = last - first;
    std::array<const std::byte*, kBlock> rows;
    float scores[kMaxGroup][kBlock];
    sources_.rows(Attention::kKeys, Attention::kFreshKeys, key_head_, first, last, rows.data());
    for (std::int64_t j = 0; j < count; ++j) {
      const std::byte* key = rows[static_cast<std::size_t>(j)];
      if (heads_ == kMaxGroup) {
        float dots[kMaxGroup];
        kernel_->dot4(dim_, key, query_.data(), dots);
        for (std::int64_t h = 0; h < kMaxGroup; ++h) scores[h][j] = dots[h] * scale_;
      } else {
        for (std::int64_t h = 0; h < heads_; ++h) {
          scores[h][j] = kernel_->dot(dim_, key, query_[static_cast<std::size_t>(h)]) * scale_;
        }
      }
    }
    const SimdKernels& simd = sources_.call.simd;
    for (std::int64_t h = 0; h < heads_; ++h) {
      const auto i = static_cast<std::size_t>(h);
      const float largest = std::max(largest_[i], simd.max(count, scores[h]));
      const float rescale = std::exp(largest_[i] - largest);
      if (rescale != 1.0f) {
        for (std::int64_t d = 0; d < dim_; ++d) out_[i][d] *= rescale;
      }
      sum_[i] = sum_[i] * rescale + simd.exp_and_sum(count, largest, scores[h]);
      largest_[i] = largest;
    }
    sources_.rows(Attention::kValues, Attention::kFreshValues, key_head_, first, last, rows.data());
    for (std::int64_t j = 0; j < count; ++j) {
      for (std::int64_t h = 0; h < heads_; ++h) {
        kernel_->axpy(dim_, scores[h][j], rows[static_cast<std::size_t>(j)],
                      out_[static_cast<std::size_t>(h)]);
      }
    }
  }

  const Sources& sources_;
  const FloatRow* kernel_;
  std::int64_t key_head_, heads_, dim_ = 0;
  float scale_ = 1;
  std::array<const float*, kMaxGroup> query_{};
  std::array<float*, kMaxGroup> out_{};
  std::array<float, kMaxGroup> largest_{}, sum_{};
};

bool contains(const TensorView& rows, std::int64_t limit, std::int64_t token) {
  if (!rows) return false;
  const std::int32_t* list = rows.row<const std::int32_t>(1);
  return std::binary_search(list, list + active_rows(rows, limit), token);
}

void run(const CpuCall& call) {
  const TensorView &query = call.inputs[Attention::kQuery], &rows = call.inputs[Attention::kRows];
  const TensorView& wide = call.inputs[Attention::kWideRows];
  const AttentionOptions& options = call.attributes<Attention>().options;
  const std::int64_t key_heads = call.inputs[Attention::kKeys].shape[1];
  const std::int64_t group = query.shape[1] / key_heads;
  const Sources sources{call, *call.inputs[Attention::kPositions].row<const std::int32_t>(0)};

  const std::int64_t count = active_rows(rows, query.shape[0]) * key_heads;
  call.pool.parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t row = item / key_heads, key_head = item % key_heads;
      const std::int64_t token = token_of_row(rows, row);
      const KeyRange range =
          key_range(options, sources.start + token, contains(wide, query.shape[0], token));
      for (std::int64_t first = 0; first < group; first += kMaxGroup) {
        Group heads(sources, row, key_head, key_head * group + first,
                    std::min(kMaxGroup, group - first));
        heads.see(0, range.sinks_end);
        heads.see(range.begin, range.end);
        heads.finish();
      }
    }
  });
}

}  // namespace

const CpuKernel kAttention = {Attention::kName, run};

}  // namespace l2a::cpu
