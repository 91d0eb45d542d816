// The tile kernels of attention at every level this machine has, against float64.
//
// Buffers are exactly as long as they must be, so that the address sanitizer sees any access beyond them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "backends/cpu/simd.h"

namespace l2a {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

std::vector<float> random_floats(std::int64_t n, unsigned seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(n));
  std::generate(values.begin(), values.end(), [&] { return normal(rng); });
  return values;
}

template <class Body>
void for_each_level(Body body) {
  for (const SimdLevel level : simd_levels()) {
    CAPTURE(simd_level_name(level));
    body(simd_kernels(level).attention);
  }
}

TEST_CASE("a tile's product is right for every number of rows and both ways through its operand") {
  for_each_level([](const AttentionKernels& kernels) {
    for (std::int64_t rows = kernels.lanes; rows <= kernels.max_rows; rows += kernels.lanes) {
      for (const bool rescaled : {false, true}) {
        for (const std::int64_t terms : {1, 5, 64}) {
          const std::int64_t outputs = 3 * kTileStep, stride = std::max(outputs, terms);
          CAPTURE(rows);
          CAPTURE(terms);
          const auto a = random_floats(stride * stride, 1), b = random_floats(terms * rows, 2);
          const auto rescale = random_floats(rows, 3), before = random_floats(outputs * rows, 4);
          for (const bool across : {false, true}) {
            // Without a rescale nothing may depend on what was in c.
            std::vector<float> c = before;
            if (!rescaled) std::fill(c.begin(), c.end(), kNaN);
            const std::int64_t step = across ? 1 : stride, next = across ? stride : 1;
            kernels.product[rows / kernels.lanes - 1]({outputs, terms, a.data(), step, next,
                                                       b.data(), c.data(),
                                                       rescaled ? rescale.data() : nullptr});
            for (std::int64_t i = 0; i < outputs; ++i) {
              for (std::int64_t r = 0; r < rows; ++r) {
                double want = rescaled ? double{before[i * rows + r]} * rescale[r] : 0;
                for (std::int64_t k = 0; k < terms; ++k)
                  want += double{a[i * step + k * next]} * b[k * rows + r];
                REQUIRE(std::fabs(c[i * rows + r] - want) <= 1e-4);
              }
            }
          }
        }
      }
    }
  });
}

TEST_CASE("a step of the tile's softmax sees each row's keys and no others") {
  for_each_level([](const AttentionKernels& kernels) {
    const std::int64_t rows = kernels.lanes, keys = 37;
    const std::int32_t first = 10;
    for (const bool all_visible : {false, true}) {
      CAPTURE(all_visible);
      std::vector<std::int32_t> sinks_end(rows), begin(rows), end(rows);
      for (std::int64_t r = 0; r < rows; ++r) {
        sinks_end[r] = static_cast<std::int32_t>(r % 4 * 5);
        begin[r] = static_cast<std::int32_t>(20 + r);
        end[r] = static_cast<std::int32_t>(24 + 2 * r);
      }
      end[0] = 0;  // row 0 sees no key at all
      auto scores = random_floats(keys * rows, 5);
      for (float& score : scores) score *= 30;  // exponentials down to the smallest numbers
      const auto before = scores;
      auto largest = random_floats(rows, 6), sum = random_floats(rows, 7);
      largest[1] = 200;       // this block changes little
      largest[2] = kNoScore;  // the first block
      sum[2] = 0;
      const auto largest_before = largest, sum_before = sum;
      std::vector<float> rescale(rows, kNaN);
      kernels.softmax(rows, {scores.data(), keys, largest.data(), sum.data(), rescale.data(),
                             all_visible, first, sinks_end.data(), begin.data(), end.data()});
      for (std::int64_t r = 0; r < rows; ++r) {
        CAPTURE(r);
        const auto visible = [&](std::int64_t j) {
          const std::int64_t key = first + j;
          return all_visible || key < sinks_end[r] || (key >= begin[r] && key < end[r]);
        };
        float most = largest_before[r];
        for (std::int64_t j = 0; j < keys; ++j)
          if (visible(j)) most = std::max(most, before[j * rows + r]);
        REQUIRE(largest[r] == most);
        const double factor = std::exp(double{largest_before[r] - most});
        REQUIRE(std::fabs(rescale[r] - factor) <= 1e-6 * factor + 1e-37);
        double total = sum_before[r] * factor;
        for (std::int64_t j = 0; j < keys; ++j) {
          const double want = visible(j) ? std::exp(double{before[j * rows + r] - most}) : 0;
          REQUIRE(std::fabs(scores[j * rows + r] - want) <= 1e-6 * want + 1e-37);
          total += want;
        }
        REQUIRE(std::fabs(sum[r] - total) <= 1e-5 * (std::fabs(total) + 1));
      }
    }
  });
}

TEST_CASE("a NaN among a row's scores stays in its sum, and in its own only") {
  for_each_level([](const AttentionKernels& kernels) {
    const std::int64_t rows = kernels.lanes, keys = 5;
    auto scores = random_floats(keys * rows, 8);
    scores[2 * rows + 3] = kNaN;
    std::vector<float> largest(rows, kNoScore), sum(rows, 0.0f), rescale(rows);
    const std::vector<std::int32_t> none(rows, 0);
    kernels.softmax(rows, {scores.data(), keys, largest.data(), sum.data(), rescale.data(), true, 0,
                           none.data(), none.data(), none.data()});
    for (std::int64_t r = 0; r < rows; ++r) CHECK(std::isnan(sum[r]) == (r == 3));
  });
}

TEST_CASE("dots and weighted sums of rows are right for any head size and number of rows") {
  for_each_level([](const AttentionKernels& kernels) {
    for (const std::int64_t dim : {1, 5, 16, 23, 64, 80, 128, 200, 256, 300}) {
      for (const std::int64_t count : {0, 1, 3, 4, 7, 8, 9}) {
        CAPTURE(dim);
        CAPTURE(count);
        const std::int64_t stride = dim + 3;
        const auto rows = random_floats(std::max(count * stride - 3, std::int64_t{0}), 9);
        const auto query = random_floats(dim, 10), weights = random_floats(count, 11);
        std::vector<float> out(count, kNaN);
        kernels.dots(dim, count, query.data(), rows.data(), stride, out.data());
        for (std::int64_t i = 0; i < count; ++i) {
          double want = 0;
          for (std::int64_t d = 0; d < dim; ++d) want += double{query[d]} * rows[i * stride + d];
          REQUIRE(std::fabs(out[i] - want) <= 1e-4);
        }
        std::vector<float> y = query;
        kernels.weighted_sum(dim, count, weights.data(), rows.data(), stride, -0.5f, y.data());
        for (std::int64_t d = 0; d < dim; ++d) {
          double want = -0.5 * query[d];
          for (std::int64_t i = 0; i < count; ++i)
            want += double{weights[i]} * rows[i * stride + d];
          REQUIRE(std::fabs(y[d] - want) <= 1e-4);
        }
      }
    }
  });
}

}  // namespace
}  // namespace l2a
