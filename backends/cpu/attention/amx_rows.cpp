// Attention of many rows by AMX, over caches of f16, bf16 or q8_0: many_rows.cpp with its products in bf16.
//
// Eight bits of each operand would be too few: logits of f16 caches would be off by 6e-3. So each is the sum of two bf16,
// and their product three products of parts, which is still 1.8 times as fast as f32.
//
// Scores are keys times queries and outputs are values times weights, both with the rows of queries as columns: the
// softmax then runs down vectors of sixteen rows, keys are tiles as they come from the cache, and weights become the
// second operand of the next product by joining pairs of keys. Only values are transposed.
//
// Widening and transposing a block of keys takes as long as half the products of 64 rows, so a thread takes up to
// kTiles tiles of rows through each block before it makes the next; their queries and sums stay in the second-level
// cache. Rows of sums, maxima and sums of weights are f32.
#include <algorithm>
#include <array>
#include <cmath>
#include <tuple>

#include "backends/cpu/attention/row_order.h"
#include "backends/cpu/panel/transpose.h"
#include "backends/cpu/tiles.h"

namespace l2a::cpu {

#if defined(__x86_64__)

namespace {

using namespace x86;

constexpr std::int64_t kKeys = 128;  // of a block
constexpr std::int64_t kRows = 64;   // of a tile: four tiles of AMX beside each other
constexpr std::int64_t kTiles = 8;
constexpr float kHidden = -std::numeric_limits<float>::infinity();

constexpr std::int64_t parts(std::int64_t n, std::int64_t size) { return (n + size - 1) / size; }

// 2^x for x <= 0, from 2^-126 on: less would not be a normal number, which takes long. The Taylor polynomial of degree 5 is within 3e-6 on
// [-1/2, 1/2]. NaN stays NaN.
L2A_AMX inline __m512 exp2(__m512 x) {
  x = _mm512_max_ps(_mm512_set1_ps(-126), x);
  const __m512 n = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 r = _mm512_sub_ps(x, n);
  __m512 p = _mm512_set1_ps(1.3333558e-3f);
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(9.6181291e-3f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.5504109e-2f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(2.4022651e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(6.9314718e-1f));
  p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1));
  return _mm512_scalef_ps(p, n);
}

// Thirty-two floats as the sum of two bf16, which together keep sixteen bits of each.
struct Split {
  __m512i high, low;

  L2A_AMX Split(__m512 first, __m512 second) : high(to_bf16(first, second)) {
    low = to_bf16(_mm512_sub_ps(first, widened(_mm512_castsi512_si256(high))),
                  _mm512_sub_ps(second, widened(_mm512_extracti64x4_epi64(high, 1))));
  }

  L2A_AMX static __m512 widened(__m256i bits) {
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  }

  // first[0], second[0], first[1], ...
  L2A_AMX void pair() {
    alignas(64) static constexpr std::uint16_t kOrder[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const __m512i order = _mm512_load_si512(kOrder);
    high = _mm512_permutexvar_epi16(order, high);
    low = _mm512_permutexvar_epi16(order, low);
  }
};

// c = a · b, or c += a · b: `a_tiles` by `b_tiles` tiles of sums, `steps` products each. Tile (i, s) of a is at
// a + i * a_stride + s tiles, tile (s, j) of b at b + s * b_stride + j tiles; c has `columns` floats a row. The low parts of
// both are a_low and b_low bytes further, 0 where a has none; the product of two low parts is less than their rounding.
struct Product {
  std::int64_t a_tiles, b_tiles, steps;
  const std::byte *a, *b;
  std::int64_t a_stride, b_stride, a_low, b_low;
  float* c;
  std::int64_t columns;
};

template <int kA, int kB>
L2A_AMX inline void add_product(const Product& p, const std::byte* a, const std::byte* b) {
  for (std::int64_t s = 0; s < p.steps; ++s, a += kTileBytes, b += p.b_stride) {
    _tile_loadd(4, a, kTileRowBytes);
    _tile_loadd(6, b, kTileRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kB == 2) {
      _tile_loadd(7, b + kTileBytes, kTileRowBytes);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (kA == 2) {
      _tile_loadd(5, a + p.a_stride, kTileRowBytes);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kB == 2) _tile_dpbf16ps(3, 5, 7);
    }
  }
}

template <int kA, int kB, bool kAdd>
L2A_AMX inline void two_by_two(const Product& p, const std::byte* a, const std::byte* b, float* c) {
  const std::int64_t row = p.columns * static_cast<std::int64_t>(sizeof(float));
  float* const below = c + kTileRows * p.columns;
  if constexpr (kAdd) {
    _tile_loadd(0, c, row);
    if constexpr (kB == 2) _tile_loadd(1, c + 16, row);
    if constexpr (kA == 2) _tile_loadd(2, below, row);
    if constexpr (kA == 2 && kB == 2) _tile_loadd(3, below + 16, row);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  add_product<kA, kB>(p, a, b);
  add_product<kA, kB>(p, a, b + p.b_low);
  if (p.a_low != 0) add_product<kA, kB>(p, a + p.a_low, b);
  _tile_stored(0, c, row);
  if constexpr (kB == 2) _tile_stored(1, c + 16, row);
  if constexpr (kA == 2) _tile_stored(2, below, row);
  if constexpr (kA == 2 && kB == 2) _tile_stored(3, below + 16, row);
}

template <bool kAdd>
L2A_AMX void multiply(const Product& p) {
  before_tile_loads();
  for (std::int64_t i = 0; i < p.a_tiles; i += 2) {
    const std::byte* a = p.a + i * p.a_stride;
    const bool two = i + 1 < p.a_tiles;
    for (std::int64_t j = 0; j < p.b_tiles; j += 2) {
      const std::byte* b = p.b + j * kTileBytes;
      float* c = p.c + i * kTileRows * p.columns + j * 16;
      if (j + 1 < p.b_tiles) {
        two ? two_by_two<2, 2, kAdd>(p, a, b, c) : two_by_two<1, 2, kAdd>(p, a, b, c);
      } else {
        two ? two_by_two<2, 1, kAdd>(p, a, b, c) : two_by_two<1, 1, kAdd>(p, a, b, c);
      }
    }
  }
}

// Up to 64 rows of queries, what they see, and their sums so far.
struct RowTile {
  std::byte* query;  // tiles of pairs of places by rows; their low parts after them
  float* out;        // [places][rows]
  float *largest, *sum;
  std::int32_t *sinks_end, *begin, *end;
  std::int64_t first = 0, used = 0;  // heads of rows, counted through
  std::int64_t sinks_min = 0, sinks_max = 0, begin_min = 0, begin_max = 0, end_min = 0, end_max = 0;

  RowTile(const AttentionCall& call, Scratch& scratch)
      : query(scratch.take<std::byte>(2 * parts(call.dim, kTileDepth) * kRows / 16 * kTileBytes)),
        out(scratch.take<float>(parts(call.dim, 16) * 16 * kRows)),
        largest(scratch.take<float>(kRows)),
        sum(scratch.take<float>(kRows)),
        sinks_end(scratch.take<std::int32_t>(kRows)),
        begin(scratch.take<std::int32_t>(kRows)),
        end(scratch.take<std::int32_t>(kRows)) {}

  std::int64_t columns() const { return parts(used, 16); }  // tiles of AMX beside each other
  bool sees(std::int64_t from, std::int64_t to) const {
    return from < sinks_max || (to > begin_min && from < end_max);
  }
};

class RowTiles {
 public:
  RowTiles(const AttentionCall& call, Scratch& scratch)
      : call_(call),
        steps_(parts(call.dim, kTileDepth)),
        places_(parts(call.dim, 16)),
        exact_(call.input(Attention::kKeys).dtype == Dtype::bf16),
        keys_(scratch.take<std::byte>(2 * key_bytes())),
        values_(scratch.take<std::byte>(2 * value_bytes())),
        weights_(scratch.take<std::byte>(2 * kWeightBytes)),
        scores_(scratch.take<float>(kKeys * kRows)),
        widened_(scratch.take<float>(kTileDepth * width())),
        tiles_{RowTile(call, scratch), RowTile(call, scratch), RowTile(call, scratch),
               RowTile(call, scratch), RowTile(call, scratch), RowTile(call, scratch),
               RowTile(call, scratch), RowTile(call, scratch)} {}

  // Heads [first, last) of `rows` counted through: row 0's heads of the group, row 1's, ...; at most kTiles * kRows.
  L2A_AMX void run(const std::int32_t* rows, std::int64_t key_head, std::int64_t first,
                   std::int64_t last) {
    const TileScope scope;
    rows_ = rows;
    key_head_ = key_head;
    count_ = parts(last - first, kRows);
    std::fill_n(widened_, kTileDepth * width(), 0.0f);
    std::int64_t sinks_max = 0, begin_min = std::numeric_limits<std::int64_t>::max(), end_max = 0;
    for (std::int64_t i = 0; i < count_; ++i) {
      RowTile& tile = tiles_[static_cast<std::size_t>(i)];
      tile.first = first + i * kRows;
      tile.used = std::min(last - tile.first, kRows);
      load(tile);
      sinks_max = std::max(sinks_max, tile.sinks_max);
      begin_min = std::min(begin_min, tile.begin_min);
      end_max = std::max(end_max, tile.end_max);
    }
    if (sinks_max < begin_min) {
      see(0, sinks_max);
      see(begin_min, end_max);
    } else {
      see(0, end_max);
    }
    for (std::int64_t i = 0; i < count_; ++i) store(tiles_[static_cast<std::size_t>(i)]);
  }

 private:
  std::int64_t width() const { return steps_ * kTileDepth; }
  // Of the high parts, which the low parts follow.
  static constexpr std::int64_t kWeightBytes = kKeys / kTileDepth * kRows / 16 * kTileBytes;
  std::int64_t key_bytes() const { return kKeys / 16 * steps_ * kTileBytes; }
  std::int64_t value_bytes() const { return kKeys / kTileDepth * places_ * kTileBytes; }
  std::int64_t query_bytes() const { return steps_ * kRows / 16 * kTileBytes; }

  const float* query_row(std::int64_t at) const {
    return call_.query.row<const float>(rows_[at / call_.group],
                                        key_head_ * call_.group + at % call_.group);
  }

  L2A_AMX void load(RowTile& tile) {
    // Powers of two instead of e: one multiplication less for each score.
    const __m512 scale = _mm512_set1_ps(1.44269504f / std::sqrt(static_cast<float>(call_.dim)));
    const std::int64_t lanes = tile.columns() * 16;
    for (std::int64_t lane = 0; lane < lanes; ++lane) {
      // Lanes without a row are what the last one is.
      const std::int64_t at = tile.first + std::min(lane, tile.used - 1);
      const KeyRange range = call_.range(rows_[at / call_.group]);
      tile.sinks_end[lane] = static_cast<std::int32_t>(range.sinks_end);
      tile.begin[lane] = static_cast<std::int32_t>(range.begin);
      tile.end[lane] = static_cast<std::int32_t>(range.end);
    }
    const auto extremes = [lanes](const std::int32_t* values) {
      const auto [low, high] = std::minmax_element(values, values + lanes);
      return std::pair<std::int64_t, std::int64_t>{*low, *high};
    };
    std::tie(tile.sinks_min, tile.sinks_max) = extremes(tile.sinks_end);
    std::tie(tile.begin_min, tile.begin_max) = extremes(tile.begin);
    std::tie(tile.end_min, tile.end_max) = extremes(tile.end);
    std::fill_n(tile.largest, lanes, kNoScore);
    std::fill_n(tile.sum, lanes, 0.0f);
    std::fill_n(tile.out, places_ * 16 * lanes, 0.0f);
    for (std::int64_t column = 0; column < tile.columns(); ++column) {
      for (std::int64_t step = 0; step < steps_; ++step) {
        const std::int64_t left = call_.dim - step * kTileDepth;
        const __mmask16 low = first_lanes(left);
        const __mmask16 high = first_lanes(std::max<std::int64_t>(left - 16, 0));
        __m512i high_pairs[16], low_pairs[16];
        for (std::int64_t r = 0; r < 16; ++r) {
          const std::int64_t lane = std::min(column * 16 + r, tile.used - 1);
          const float* q = query_row(tile.first + lane) + step * kTileDepth;
          const Split split(_mm512_mul_ps(scale, _mm512_maskz_loadu_ps(low, q)),
                            _mm512_mul_ps(scale, _mm512_maskz_loadu_ps(high, q + 16)));
          high_pairs[r] = split.high;
          low_pairs[r] = split.low;
        }
        std::byte* to = tile.query + (step * tile.columns() + column) * kTileBytes;
        store_transposed(high_pairs, to);
        store_transposed(low_pairs, to + query_bytes());
      }
    }
  }

  L2A_AMX static void store_transposed(__m512i (&rows)[16], std::byte* to) {
    transpose(rows);
    for (std::int64_t r = 0; r < 16; ++r) _mm512_store_si512(to + r * kTileRowBytes, rows[r]);
  }

  void see(std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += kKeys)
      block(first, std::min(first + kKeys, end));
  }

  void block(std::int64_t first, std::int64_t last) {
    take_keys(first, last);
    take_values(first, last);
    for (std::int64_t i = 0; i < count_; ++i) {
      RowTile& tile = tiles_[static_cast<std::size_t>(i)];
      if (tile.sees(first, last)) step(tile, first, last - first);
    }
  }

  // Of keys or values [first, last), in f32.
  void widen(Attention::Input cache, Attention::Input fresh, std::int64_t first,
             std::int64_t last) {
    std::array<const std::byte*, kTileDepth> rows;
    call_.addresses(cache, fresh, key_head_, first, last, rows.data());
    for (std::int64_t j = 0; j < last - first; ++j)
      call_.cached().to_f32(call_.dim, rows[static_cast<std::size_t>(j)], widened_ + j * width());
  }

  L2A_AMX void take_keys(std::int64_t first, std::int64_t last) {
    for (std::int64_t at = first; at < last; at += kTileDepth) {
      const std::int64_t count = std::min(kTileDepth, last - at);
      widen(Attention::kKeys, Attention::kFreshKeys, at, at + count);
      for (std::int64_t j = 0; j < count; ++j) {
        const std::int64_t key = at - first + j;
        std::byte* to = keys_ + key / 16 * steps_ * kTileBytes + key % 16 * kTileRowBytes;
        const float* from = widened_ + j * width();
        for (std::int64_t step = 0; step < steps_; ++step, from += kTileDepth, to += kTileBytes) {
          const Split split(_mm512_load_ps(from), _mm512_load_ps(from + 16));
          _mm512_store_si512(to, split.high);
          if (!exact_) _mm512_store_si512(to + key_bytes(), split.low);
        }
      }
    }
  }

  // Values of keys beyond the last are zero, as their weights are.
  L2A_AMX void take_values(std::int64_t first, std::int64_t last) {
    const std::int64_t steps = parts(last - first, kTileDepth);
    for (std::int64_t step = 0; step < steps; ++step) {
      const std::int64_t at = first + step * kTileDepth;
      const std::int64_t count = std::min(kTileDepth, last - at);
      widen(Attention::kValues, Attention::kFreshValues, at, at + count);
      std::fill_n(widened_ + count * width(), (kTileDepth - count) * width(), 0.0f);
      for (std::int64_t place = 0; place < places_; ++place) {
        __m512i high[16], low[16];
        for (std::int64_t p = 0; p < 16; ++p) {
          const float* from = widened_ + 2 * p * width() + 16 * place;
          Split split(_mm512_load_ps(from), _mm512_load_ps(from + width()));
          split.pair();
          high[p] = split.high;
          low[p] = split.low;
        }
        std::byte* to = values_ + (place * steps + step) * kTileBytes;
        store_transposed(high, to);
        if (!exact_) store_transposed(low, to + value_bytes());
      }
    }
  }

  void step(RowTile& tile, std::int64_t first, std::int64_t keys) {
    const std::int64_t columns = tile.columns(), lanes = columns * 16;
    const std::int64_t steps = parts(keys, kTileDepth);
    multiply<false>({parts(keys, 16), columns, steps_, keys_, tile.query, steps_ * kTileBytes,
                     columns * kTileBytes, exact_ ? 0 : key_bytes(), query_bytes(), scores_,
                     lanes});
    for (std::int64_t column = 0; column < columns; ++column) softmax(tile, column, first, keys);
    multiply<true>({places_, columns, steps, values_, weights_, steps * kTileBytes,
                    columns * kTileBytes, exact_ ? 0 : value_bytes(), kWeightBytes, tile.out,
                    lanes});
  }

  // One step of the softmax, of sixteen rows: scores become weights in bf16, and what was summed before is rescaled.
  L2A_AMX void softmax(RowTile& tile, std::int64_t column, std::int64_t first, std::int64_t keys) {
    const std::int64_t lanes = tile.columns() * 16, r = column * 16;
    float* const scores = scores_ + r;
    const __m512 before = _mm512_load_ps(tile.largest + r);
    __m512 largest = before;
    const std::int64_t last = first + keys;
    if (last <= tile.sinks_min || (first >= tile.begin_max && last <= tile.end_min)) {
      for (std::int64_t j = 0; j < keys; ++j)
        largest = _mm512_max_ps(_mm512_load_ps(scores + j * lanes), largest);
    } else {
      const __m512i sinks_end = _mm512_load_si512(tile.sinks_end + r);
      const __m512i begin = _mm512_load_si512(tile.begin + r);
      const __m512i end = _mm512_load_si512(tile.end + r);
      for (std::int64_t j = 0; j < keys; ++j) {
        const __m512i key = _mm512_set1_epi32(static_cast<std::int32_t>(first + j));
        const auto sink = _mm512_cmplt_epi32_mask(key, sinks_end);
        const auto near =
            _mm512_mask_cmplt_epi32_mask(_mm512_cmpge_epi32_mask(key, begin), key, end);
        float* score = scores + j * lanes;
        const __m512 seen = _mm512_mask_load_ps(_mm512_set1_ps(kHidden),
                                                static_cast<__mmask16>(sink | near), score);
        _mm512_store_ps(score, seen);
        largest = _mm512_max_ps(seen, largest);
      }
    }
    __m512 sum = _mm512_setzero_ps();
    std::byte* to = weights_ + column * kTileBytes;
    const std::int64_t padded = parts(keys, kTileDepth) * kTileDepth;
    for (std::int64_t j = 0; j < padded; j += 2) {
      __m512 weight[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
      for (std::int64_t i = 0; i < 2 && j + i < keys; ++i) {
        weight[i] = exp2(_mm512_sub_ps(_mm512_load_ps(scores + (j + i) * lanes), largest));
        sum = _mm512_add_ps(sum, weight[i]);
      }
      Split split(weight[0], weight[1]);
      split.pair();
      std::byte* const pair =
          to + j / kTileDepth * tile.columns() * kTileBytes + j % kTileDepth / 2 * kTileRowBytes;
      _mm512_store_si512(pair, split.high);
      _mm512_store_si512(pair + kWeightBytes, split.low);
    }
    const __m512 rescale = exp2(_mm512_sub_ps(before, largest));
    _mm512_store_ps(tile.sum + r, _mm512_fmadd_ps(_mm512_load_ps(tile.sum + r), rescale, sum));
    _mm512_store_ps(tile.largest + r, largest);
    // Maxima settle after a few blocks.
    if (_mm512_cmp_ps_mask(largest, before, _CMP_NEQ_UQ) == 0) return;
    for (std::int64_t d = 0; d < places_ * 16; ++d) {
      float* out = tile.out + d * lanes + r;
      _mm512_store_ps(out, _mm512_mul_ps(_mm512_load_ps(out), rescale));
    }
  }

  L2A_AMX void store(const RowTile& tile) {
    const std::int64_t lanes = tile.columns() * 16;
    for (std::int64_t r = 0; r < tile.used; r += 16) {
      const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1), _mm512_load_ps(tile.sum + r));
      for (std::int64_t d = 0; d < call_.dim; d += 16) {
        __m512i values[16];
        for (std::int64_t i = 0; i < 16; ++i) {
          values[i] = _mm512_castps_si512(
              _mm512_mul_ps(_mm512_load_ps(tile.out + (d + i) * lanes + r), inverse));
        }
        transpose(values);
        const __mmask16 mask = first_lanes(call_.dim - d);
        for (std::int64_t i = 0; i < std::min<std::int64_t>(16, tile.used - r); ++i) {
          const std::int64_t at = tile.first + r + i;
          float* out = call_.cpu.output.row<float>(rows_[at / call_.group],
                                                   key_head_ * call_.group + at % call_.group);
          _mm512_mask_storeu_ps(out + d, mask, _mm512_castsi512_ps(values[i]));
        }
      }
    }
  }

  const AttentionCall& call_;
  std::int64_t steps_, places_;  // tiles of a key and of a value
  bool exact_;                   // keys and values are bf16 and have no low parts
  std::byte *keys_, *values_, *weights_;
  float *scores_, *widened_;
  std::array<RowTile, kTiles> tiles_;
  const std::int32_t* rows_ = nullptr;
  std::int64_t key_head_ = 0, count_ = 0;
};

std::size_t tiles_bytes(const AttentionCall& call) {
  Scratch scratch(nullptr);
  const RowTiles tiles(call, scratch);
  return scratch.used();
}

}  // namespace

bool has_tiles(const AttentionCall& call) {
  return call.cpu.simd.level == SimdLevel::amx && call.input(Attention::kKeys).dtype != Dtype::f32;
}

std::size_t amx_rows_workspace(const AttentionCall& call) {
  Scratch order(nullptr);
  order.take<std::int32_t>(call.query.shape[0]);
  return order.used() + static_cast<std::size_t>(call.cpu.pool.threads()) * tiles_bytes(call);
}

void attend_amx_rows(const AttentionCall& call) {
  Scratch scratch(call.cpu.workspace);
  const RowOrder order(call, scratch.take<std::int32_t>(call.query.shape[0]));
  const std::int64_t threads = call.cpu.pool.threads();
  // As many rows together as leave each thread a few pieces.
  const std::int64_t tiles = parts(order.count * call.group, kRows) * call.key_heads;
  const std::int64_t together = std::clamp(tiles / (4 * threads), std::int64_t{1}, kTiles);
  std::byte* const memory = call.cpu.workspace + scratch.used();
  const std::size_t of_thread = tiles_bytes(call);
  for_each_piece(call, order, together * kRows, [&](std::int64_t slot) {
    Scratch own(memory + static_cast<std::size_t>(slot) * of_thread);
    return RowTiles(call, own);
  });
}

#else

bool has_tiles(const AttentionCall& /*call*/) { return false; }
std::size_t amx_rows_workspace(const AttentionCall& /*call*/) { return 0; }
void attend_amx_rows(const AttentionCall& /*call*/) {}

#endif

}  // namespace l2a::cpu
