// Attention of a few rows: decoding. The time is that of reading the cache, so each key and value is read once, for all
// heads, in the order in which they are stored, and the keys are split over the threads; the parts are merged at the
// end (flash-decoding).
#include <array>
#include <atomic>
#include <cmath>

#include "backends/cpu/attention/attention.h"

namespace l2a::cpu {
namespace {

constexpr std::int64_t kMinSplit = 256;       // keys: fewer are not worth a merge
constexpr std::int64_t kSplitsPerThread = 4;  // so that a slow core holds up nobody
constexpr std::int64_t kWidened = 4;          // keys that are in f32 at a time
constexpr std::int64_t kTogether = 8;         // keys that heads pass together where none is
constexpr std::int64_t kLanes = 8;            // query lanes below which a tile would idle

// The keys a row sees, counted through: sinks, then those of the window.
struct Seen {
  KeyRange range;
  std::int64_t count() const { return range.sinks_end + range.end - range.begin; }
};

// What a part of the keys gives: sums of values by weights relative to `largest`, for every query head.
struct Part {
  float *out, *largest, *sum;
  Part(const AttentionCall& call, Scratch& scratch)
      : out(scratch.take<float>(call.query.shape[1] * call.dim)),
        largest(scratch.take<float>(call.query.shape[1])),
        sum(scratch.take<float>(call.query.shape[1])) {}
};

class KeyPass {
 public:
  KeyPass(const AttentionCall& call, Scratch& scratch)
      : call_(call),
        heads_(call.query.shape[1]),
        width_(call.key_heads * call.dim),
        scale_(1.0f / std::sqrt(static_cast<float>(call.dim))),
        direct_(call.cached().group_dots != nullptr && call.dim % 16 == 0),
        widened_(scratch.take<float>(kWidened * width_)),
        scores_(scratch.take<float>(heads_ * kKeyBlock)),
        rescale_(scratch.take<float>(heads_)) {}

  // Keys [first, last) of what `row` sees.
  void run(std::int64_t row, const Seen& seen, std::int64_t first, std::int64_t last,
           const Part& part) {
    std::fill_n(part.out, heads_ * call_.dim, 0.0f);
    std::fill_n(part.largest, heads_, kNoScore);
    std::fill_n(part.sum, heads_, 0.0f);
    find(seen, first, std::min(first + kKeyBlock, last), 0);
    int now = 0;
    for (; first < last; first += kKeyBlock, now ^= 1) {
      const std::int64_t end = std::min(first + kKeyBlock, last);
      const std::int64_t next = std::min(end + kKeyBlock, last) - end;
      if (next > 0) find(seen, end, end + next, now ^ 1);
      block(row, end - first, next, now, part);
    }
  }

 private:
  using Addresses = std::array<const std::byte*, kKeyBlock>;

  void find(const Seen& seen, std::int64_t first, std::int64_t last, int to) {
    const KeyRange& range = seen.range;
    const std::int64_t sinks = std::clamp(range.sinks_end - first, std::int64_t{0}, last - first);
    const std::int64_t shift = range.begin - range.sinks_end;
    const auto both = [&](Attention::Input cache, Attention::Input fresh, Addresses& rows) {
      call_.addresses(cache, fresh, 0, first, first + sinks, rows.data());
      call_.addresses(cache, fresh, 0, first + sinks + shift, last + shift, rows.data() + sinks);
    };
    both(Attention::kKeys, Attention::kFreshKeys, keys_[to]);
    both(Attention::kValues, Attention::kFreshValues, values_[to]);
  }

  void block(std::int64_t row, std::int64_t count, std::int64_t next, int now, const Part& part) {
    const SimdKernels& simd = call_.cpu.simd;
    const FloatRow& cached = call_.cached();
    const std::int64_t group = call_.group, dim = call_.dim;
    pass_over(keys_[now], count, {values_[now].data(), count},
              [&](std::int64_t head, std::int64_t first, const GroupRows& keys) {
                float* const scores = scores_ + head * kKeyBlock + first;
                const float* const query = call_.query.row<const float>(row, head);
                const std::int64_t stride =
                    call_.query.strides[1] / static_cast<std::int64_t>(sizeof(float));
                if (direct_) {
                  cached.group_dots(keys, query, stride, scores, kKeyBlock);
                  return;
                }
                for (std::int64_t h = 0; h < group; ++h)
                  simd.attention.dots(dim, keys.count, query + h * stride,
                                      widened_ + head / group * dim, width_,
                                      scores + h * kKeyBlock);
              });
    for (std::int64_t h = 0; h < heads_; ++h) {
      float* scores = scores_ + h * kKeyBlock;
      for (std::int64_t j = 0; j < count; ++j) scores[j] *= scale_;
      const float largest = std::max(part.largest[h], simd.max(count, scores));
      rescale_[h] = std::exp(part.largest[h] - largest);
      part.sum[h] = part.sum[h] * rescale_[h] + simd.exp_and_sum(count, largest, scores);
      part.largest[h] = largest;
    }
    pass_over(values_[now], count, {keys_[now ^ 1].data(), next},
              [&](std::int64_t head, std::int64_t first, const GroupRows& values) {
                const float* const weights = scores_ + head * kKeyBlock + first;
                float* const rescale = rescale_ + head;
                float* const out = part.out + head * dim;
                if (direct_) {
                  cached.group_sums(values, weights, kKeyBlock, rescale, out);
                } else {
                  for (std::int64_t h = 0; h < group; ++h)
                    simd.attention.weighted_sum(dim, values.count, weights + h * kKeyBlock,
                                                widened_ + head / group * dim, width_, rescale[h],
                                                out + h * dim);
                }
                std::fill_n(rescale, group, 1.0f);  // once a block
              });
  }

  struct Ahead {
    const std::byte* const* rows;
    std::int64_t count;
  };

  // Calls work(first query head of a key head, first row, rows) for every key head of a few rows of the cache before the
  // next few; kernels that cannot read the cache get them widened. Meanwhile the rows that come after are asked for, a share
  // with each head: memory must never wait for arithmetic.
  template <class Work>
  void pass_over(const Addresses& rows, std::int64_t count, const Ahead& after, Work work) {
    const Dtype dtype = call_.input(Attention::kKeys).dtype;
    const auto head_bytes = static_cast<std::int64_t>(dtype_bytes(dtype, call_.dim));
    const std::int64_t most = direct_ ? kTogether : kWidened;
    for (std::int64_t first = 0; first < count; first += most) {
      const std::int64_t together = std::min(most, count - first);
      if (!direct_) {
        for (std::int64_t j = 0; j < together; ++j)
          call_.cached().to_f32(width_, rows[static_cast<std::size_t>(first + j)],
                                widened_ + j * width_);
      }
      const std::int64_t rest = count - first - together;
      const Ahead ahead = rest > 0 ? Ahead{rows.data() + first + together, rest} : after;
      for (std::int64_t k = 0; k < call_.key_heads; ++k) {
        for (std::int64_t j = 0; j < std::min(most, ahead.count); ++j) {
          for (std::int64_t at = k * head_bytes; at < (k + 1) * head_bytes; at += 64)
            __builtin_prefetch(ahead.rows[j] + at, 0, 2);
        }
        work(k * call_.group, first,
             {call_.dim, call_.group, rows.data() + first, k * head_bytes, together});
      }
    }
  }

  const AttentionCall& call_;
  std::int64_t heads_, width_;
  float scale_;
  bool direct_;  // kernels read the cache as it is
  float *widened_, *scores_, *rescale_;
  Addresses keys_[2], values_[2];  // of the block at work and of the next
};

std::int64_t most_splits(const AttentionCall& call) {
  return call.cpu.pool.threads() * kSplitsPerThread;
}

std::size_t pass_bytes(const AttentionCall& call) {
  Scratch scratch(nullptr);
  const KeyPass pass(call, scratch);
  return scratch.used();
}
std::size_t part_bytes(const AttentionCall& call) {
  Scratch scratch(nullptr);
  const Part part(call, scratch);
  return scratch.used();
}

}  // namespace

std::int64_t few_rows(const AttentionCall& call) {
  return std::max(kLanes / call.group, std::int64_t{1});
}

bool has_whole_rows(const AttentionCall& call) {
  const auto inputs = {Attention::kKeys, Attention::kValues, Attention::kFreshKeys,
                       Attention::kFreshValues};
  return std::all_of(inputs.begin(), inputs.end(), [&](Attention::Input i) {
    const TensorView& x = call.input(i);
    return !x || x.strides[1] == static_cast<std::int64_t>(dtype_bytes(x.dtype, call.dim));
  });
}

std::size_t few_rows_workspace(const AttentionCall& call) {
  const std::int64_t parts = few_rows(call) * most_splits(call);
  return static_cast<std::size_t>(call.cpu.pool.threads()) * pass_bytes(call) +
         static_cast<std::size_t>(parts) * part_bytes(call);
}

void attend_few_rows(const AttentionCall& call) {
  ThreadPool& pool = call.cpu.pool;
  const std::int64_t rows = call.rows(), threads = pool.threads();
  const std::size_t of_pass = pass_bytes(call), of_part = part_bytes(call);
  std::byte* const passes = call.cpu.workspace;
  std::byte* const parts = passes + static_cast<std::size_t>(threads) * of_pass;

  const auto seen = [&](std::int64_t row) { return Seen{call.range(row)}; };
  std::int64_t longest = 0;
  for (std::int64_t row = 0; row < rows; ++row) longest = std::max(longest, seen(row).count());
  const std::int64_t splits =
      std::clamp((longest + kMinSplit - 1) / kMinSplit, std::int64_t{1}, most_splits(call));
  const auto part_at = [&](std::int64_t row, std::int64_t split) {
    Scratch scratch(parts + static_cast<std::size_t>(row * splits + split) * of_part);
    return Part(call, scratch);
  };

  std::atomic<std::int64_t> claimed{0};
  pool.parallel_for(threads, 1, [&](std::int64_t slot, std::int64_t /*end*/) {
    Scratch scratch(passes + static_cast<std::size_t>(slot) * of_pass);
    KeyPass pass(call, scratch);
    for (std::int64_t item = claimed++; item < rows * splits; item = claimed++) {
      const std::int64_t row = item / splits, split = item % splits;
      const Seen keys = seen(row);
      const auto bound = [&](std::int64_t i) { return keys.count() * i / splits; };
      pass.run(row, keys, bound(split), bound(split + 1), part_at(row, split));
    }
  });

  const std::int64_t heads = call.query.shape[1];
  pool.parallel_for(rows * heads, row_grain(splits * call.dim * 4),
                    [&](std::int64_t begin, std::int64_t end) {
                      for (std::int64_t i = begin; i < end; ++i) {
                        const std::int64_t row = i / heads, h = i % heads;
                        float largest = kNoScore, sum = 0;
                        for (std::int64_t s = 0; s < splits; ++s)
                          largest = std::max(largest, part_at(row, s).largest[h]);
                        auto* out = call.cpu.output.row<float>(row, h);
                        std::fill_n(out, call.dim, 0.0f);
                        for (std::int64_t s = 0; s < splits; ++s) {
                          const Part part = part_at(row, s);
                          const float weight = std::exp(part.largest[h] - largest);
                          sum += part.sum[h] * weight;
                          for (std::int64_t d = 0; d < call.dim; ++d)
                            out[d] += weight * part.out[h * call.dim + d];
                        }
                        for (std::int64_t d = 0; d < call.dim; ++d) out[d] /= sum;
                      }
                    });
}

}  // namespace l2a::cpu
