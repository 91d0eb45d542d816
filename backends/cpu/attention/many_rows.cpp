// Attention of many rows: prompts. Tiles of query rows against blocks of keys (arXiv 2205.14135, algorithm 1).
//
// A row of a tile is a token and one of the query heads that share a key head, so that a key is read and widened to f32
// once for tens of them.
#include <array>
#include <cmath>
#include <tuple>

#include "backends/cpu/attention/row_order.h"

namespace l2a::cpu {
namespace {

std::int64_t round_up(std::int64_t n, std::int64_t step) { return (n + step - 1) / step * step; }

class Tile {
 public:
  Tile(const AttentionCall& call, Scratch& scratch)
      : call_(call),
        kernels_(call.cpu.simd.attention),
        // Beside a power of two, or the keys of a block would share a few sets of the cache.
        stride_(round_up(call.dim, kTileStep) + 16),
        query_(scratch.take<float>(call.dim * kernels_.max_rows)),
        out_(scratch.take<float>(round_up(call.dim, kTileStep) * kernels_.max_rows)),
        scores_(scratch.take<float>(kKeyBlock * kernels_.max_rows)),
        widened_(scratch.take<float>(kKeyBlock * stride_)),
        largest_(scratch.take<float>(kernels_.max_rows)),
        sum_(scratch.take<float>(kernels_.max_rows)),
        rescale_(scratch.take<float>(kernels_.max_rows)),
        sinks_end_(scratch.take<std::int32_t>(kernels_.max_rows)),
        begin_(scratch.take<std::int32_t>(kernels_.max_rows)),
        end_(scratch.take<std::int32_t>(kernels_.max_rows)) {}

  // Heads [first, last) of `rows` counted through: row 0's heads of the group, row 1's, ...
  void run(const std::int32_t* rows, std::int64_t key_head, std::int64_t first, std::int64_t last) {
    key_head_ = key_head;
    const std::int64_t used = last - first;
    lanes_ = round_up(used, kernels_.lanes);
    load(rows, first, used);
    if (sinks_max_ < begin_min_) {
      see(0, sinks_max_);
      see(begin_min_, end_max_);
    } else {
      see(0, end_max_);
    }
    store(rows, first, used);
  }

 private:
  void load(const std::int32_t* rows, std::int64_t first, std::int64_t used) {
    const float scale = 1.0f / std::sqrt(static_cast<float>(call_.dim));
    for (std::int64_t lane = 0; lane < lanes_; ++lane) {
      // Lanes without a row see what the last one sees, with a query of zeros.
      const std::int64_t at = first + std::min(lane, used - 1);
      const std::int32_t row = rows[at / call_.group];
      const float* q =
          call_.query.row<const float>(row, key_head_ * call_.group + at % call_.group);
      for (std::int64_t d = 0; d < call_.dim; ++d)
        query_[d * lanes_ + lane] = lane < used ? q[d] * scale : 0;
      const KeyRange range = call_.range(row);
      sinks_end_[lane] = static_cast<std::int32_t>(range.sinks_end);
      begin_[lane] = static_cast<std::int32_t>(range.begin);
      end_[lane] = static_cast<std::int32_t>(range.end);
    }
    std::tie(sinks_min_, sinks_max_) = extremes(sinks_end_);
    std::tie(begin_min_, begin_max_) = extremes(begin_);
    std::tie(end_min_, end_max_) = extremes(end_);
    std::fill_n(largest_, lanes_, kNoScore);
    std::fill_n(sum_, lanes_, 0.0f);
    std::fill_n(out_, round_up(call_.dim, kTileStep) * lanes_, 0.0f);
  }

  std::pair<std::int64_t, std::int64_t> extremes(const std::int32_t* values) const {
    const auto [low, high] = std::minmax_element(values, values + lanes_);
    return {*low, *high};
  }

  void see(std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += kKeyBlock)
      block(first, std::min(first + kKeyBlock, end));
  }

  void block(std::int64_t first, std::int64_t last) {
    const std::int64_t keys = last - first;
    const auto product = kernels_.product[lanes_ / kernels_.lanes - 1];
    widen(Attention::kKeys, Attention::kFreshKeys, first, last);
    product({round_up(keys, kTileStep), call_.dim, widened_, stride_, 1, query_, scores_, nullptr});

    const bool all_visible = last <= sinks_min_ || (first >= begin_max_ && last <= end_min_);
    kernels_.softmax(lanes_, {scores_, keys, largest_, sum_, rescale_, all_visible,
                              static_cast<std::int32_t>(first), sinks_end_, begin_, end_});

    widen(Attention::kValues, Attention::kFreshValues, first, last);
    product({round_up(call_.dim, kTileStep), keys, widened_, 1, stride_, scores_, out_, rescale_});
  }

  void widen(Attention::Input cache, Attention::Input fresh, std::int64_t first,
             std::int64_t last) {
    std::array<const std::byte*, kKeyBlock> rows;
    call_.addresses(cache, fresh, key_head_, first, last, rows.data());
    const FloatRow& cached = call_.cached();
    for (std::int64_t j = 0; j < last - first; ++j)
      cached.to_f32(call_.dim, rows[static_cast<std::size_t>(j)], widened_ + j * stride_);
  }

  void store(const std::int32_t* rows, std::int64_t first, std::int64_t used) {
    for (std::int64_t lane = 0; lane < used; ++lane) {
      const std::int64_t at = first + lane;
      const float inverse = 1.0f / sum_[lane];
      float* out = call_.cpu.output.row<float>(rows[at / call_.group],
                                               key_head_ * call_.group + at % call_.group);
      for (std::int64_t d = 0; d < call_.dim; ++d) out[d] = out_[d * lanes_ + lane] * inverse;
    }
  }

  const AttentionCall& call_;
  const AttentionKernels& kernels_;
  std::int64_t stride_;
  float *query_, *out_, *scores_, *widened_, *largest_, *sum_, *rescale_;
  std::int32_t *sinks_end_, *begin_, *end_;
  std::int64_t key_head_ = 0, lanes_ = 0;
  std::int64_t sinks_min_ = 0, sinks_max_ = 0, begin_min_ = 0, begin_max_ = 0, end_min_ = 0,
               end_max_ = 0;
};

std::size_t tile_bytes(const AttentionCall& call) {
  Scratch scratch(nullptr);
  const Tile tile(call, scratch);
  return scratch.used();
}

}  // namespace

std::size_t many_rows_workspace(const AttentionCall& call) {
  Scratch order(nullptr);
  order.take<std::int32_t>(call.query.shape[0]);
  return order.used() + static_cast<std::size_t>(call.cpu.pool.threads()) * tile_bytes(call);
}

void attend_many_rows(const AttentionCall& call) {
  Scratch scratch(call.cpu.workspace);
  const RowOrder order(call, scratch.take<std::int32_t>(call.query.shape[0]));
  std::byte* const memory = call.cpu.workspace + scratch.used();
  const std::size_t of_tile = tile_bytes(call);
  for_each_piece(call, order, call.cpu.simd.attention.max_rows, [&](std::int64_t slot) {
    Scratch own(memory + static_cast<std::size_t>(slot) * of_tile);
    return Tile(call, own);
  });
}

}  // namespace l2a::cpu
