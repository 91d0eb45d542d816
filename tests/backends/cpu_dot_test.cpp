// Every vector kernel of every level this machine has, against dequantize_row and float64 sums.
//
// Buffers are exactly as long as they must be and weight rows start at odd addresses, so that the
// address sanitizer sees any read beyond a row.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "backends/cpu/panel/tile_panel.h"
#include "backends/cpu/simd.h"
#include "ops/blocks.h"
#include "ops/dequantize.h"

namespace l2a {
namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

constexpr Dtype kQuantized[] = {Dtype::q4_0, Dtype::q4_1, Dtype::q5_0, Dtype::q5_1,
                                Dtype::q8_0, Dtype::q4_k, Dtype::q5_k, Dtype::q6_k};
constexpr Dtype kFloating[] = {Dtype::f32, Dtype::f16, Dtype::bf16};

// Both sides of a comparison use the same operands, so what differs is float32 rounding: of a few
// hundred partial sums, and of offsets charged through block sums, which can exceed the products
// they correct.
constexpr double kRounding = 1e-5;

struct Row {
  std::vector<std::byte> bytes;  // the row starts at byte 1
  std::vector<float> values;     // what it is worth

  const std::byte* data() const { return bytes.data() + 1; }
};

// Where the f16 fields of a block are.
std::vector<std::size_t> half_offsets(Dtype dtype) {
  switch (dtype) {
    case Dtype::q4_1:
    case Dtype::q5_1:
    case Dtype::q4_k:
    case Dtype::q5_k:
      return {0, 2};
    case Dtype::q6_k:
      return {offsetof(BlockQ6K, d)};
    default:
      return {0};
  }
}

// `fill` gives the bytes of the blocks; their f16 fields are then drawn from [-0.1, 0.1].
template <class Fill>
Row make_row(Dtype dtype, std::int64_t k, std::mt19937& rng, Fill fill) {
  const DtypeInfo& info = dtype_info(dtype);
  Row row;
  row.bytes.resize(1 + dtype_bytes(dtype, k));
  std::generate(row.bytes.begin() + 1, row.bytes.end(), fill);
  std::uniform_real_distribution<float> half(-0.1f, 0.1f);
  for (std::int64_t i = 0; i < k / info.block_elements; ++i) {
    for (const std::size_t offset : half_offsets(dtype)) {
      const std::uint16_t bits = float_to_f16(half(rng));
      std::memcpy(row.bytes.data() + 1 + i * info.block_bytes + offset, &bits, 2);
    }
  }
  row.values.resize(static_cast<std::size_t>(k));
  dequantize_row(dtype, std::span(row.bytes).subspan(1), row.values);
  return row;
}

Row random_row(Dtype dtype, std::int64_t k, std::mt19937& rng) {
  return make_row(dtype, k, rng, [&] { return static_cast<std::byte>(rng()); });
}

std::vector<float> random_floats(std::int64_t n, std::mt19937& rng) {
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<std::size_t>(n));
  std::generate(values.begin(), values.end(), [&] { return normal(rng); });
  return values;
}

// Quantized activations in exactly sized buffers, and what they are worth.
struct Activation {
  std::vector<std::int8_t> q;
  std::vector<float> scale, sum, values;
  ActivationRow view;

  Activation(const SimdKernels& kernels, const std::vector<float>& x)
      : q(x.size(), 99), scale(x.size() / 32, kNaN), sum(x.size() / 32, kNaN), values(x.size()) {
    view = {q.data(), scale.data(), sum.data()};
    kernels.quantize_activation_row(static_cast<std::int64_t>(x.size()), x.data(), 0, view);
    for (std::size_t i = 0; i < x.size(); ++i) {
      values[i] = scale[i / 32] * static_cast<float>(q[i]);
    }
  }
};

struct Reference {
  double dot = 0;
  double magnitude = 0;  // Σ |w x|
};
Reference reference(const std::vector<float>& w, const std::vector<float>& x) {
  Reference result;
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double product = static_cast<double>(w[i]) * static_cast<double>(x[i]);
    result.dot += product;
    result.magnitude += std::fabs(product);
  }
  return result;
}

void check_quantized_dot(const SimdKernels& kernels, Dtype dtype, const Row& row,
                         const std::vector<Activation>& x) {
  REQUIRE(x.size() == 4);
  const auto k = static_cast<std::int64_t>(row.values.size());
  const ActivationRow columns[4] = {x[0].view, x[1].view, x[2].view, x[3].view};
  float four[6] = {kNaN, kNaN, kNaN, kNaN, kNaN, 7.0f};
  kernels.quantized_dot(dtype).dot4(k, row.data(), columns, four + 1);
  CHECK(std::isnan(four[0]));
  CHECK(four[5] == 7.0f);
  for (int c = 0; c < 4; ++c) {
    CAPTURE(c);
    const Reference expected = reference(row.values, x[c].values);
    const double tolerance = kRounding * expected.magnitude;
    const float one = kernels.quantized_dot(dtype).dot(k, row.data(), columns[c]);
    REQUIRE(std::fabs(static_cast<double>(one) - expected.dot) <= tolerance);
    REQUIRE(std::fabs(static_cast<double>(four[c + 1]) - expected.dot) <= tolerance);
  }
}

template <class Body>
void for_each_level(Body body) {
  for (const SimdLevel level : simd_levels()) {
    CAPTURE(simd_level_name(level));
    body(simd_kernels(level));
  }
}

TEST_CASE("levels of this machine start at generic and end at the best") {
  REQUIRE(!simd_levels().empty());
  CHECK(simd_levels().front() == SimdLevel::generic);
  CHECK(simd_levels().back() == best_simd_level());
  for_each_level([](const SimdKernels& kernels) {
    CHECK(simd_kernels(kernels.level).level == kernels.level);
  });
}

TEST_CASE(
    "quantized dot products are those of the dequantized operands, for any number of blocks") {
  for_each_level([](const SimdKernels& kernels) {
    for (const Dtype dtype : kQuantized) {
      CAPTURE(dtype_name(dtype));
      const std::int64_t block = dtype_info(dtype).block_elements;
      for (const std::int64_t blocks : {1, 2, 3, 4, 5, 7, 8, 19}) {
        CAPTURE(blocks);
        std::mt19937 rng(static_cast<unsigned>(blocks));
        const Row row = random_row(dtype, blocks * block, rng);
        std::vector<Activation> x;
        for (int c = 0; c < 4; ++c) {
          x.emplace_back(kernels, random_floats(blocks * block, rng));
        }
        check_quantized_dot(kernels, dtype, row, x);
      }
    }
  });
}

TEST_CASE("four rows at once give each what it gives alone, however far apart they are") {
  for_each_level([](const SimdKernels& kernels) {
    for (const Dtype dtype : kQuantized) {
      CAPTURE(dtype_name(dtype));
      const std::int64_t block = dtype_info(dtype).block_elements;
      for (const std::int64_t blocks : {1, 4, 7, 19}) {
        CAPTURE(blocks);
        std::mt19937 rng(static_cast<unsigned>(blocks));
        const std::int64_t k = blocks * block;
        const std::int64_t bytes = dtype_bytes(dtype, k), stride = bytes + 3 * blocks;
        std::vector<std::byte> rows(static_cast<std::size_t>(3 * stride + bytes));
        for (int r = 0; r < 4; ++r) {
          const Row row = random_row(dtype, k, rng);
          std::copy_n(row.data(), bytes, rows.data() + r * stride);
        }
        const Activation x(kernels, random_floats(k, rng));
        float four[6] = {kNaN, kNaN, kNaN, kNaN, kNaN, 7.0f};
        kernels.quantized_dot(dtype).rows4(k, rows.data(), stride, x.view, four + 1);
        CHECK(std::isnan(four[0]));
        CHECK(four[5] == 7.0f);
        for (int r = 0; r < 4; ++r) {
          CAPTURE(r);
          CHECK(four[r + 1] ==
                kernels.quantized_dot(dtype).dot(k, rows.data() + r * stride, x.view));
        }
      }
    }
  });
}

TEST_CASE("an empty row has a dot product of zero") {
  for_each_level([](const SimdKernels& kernels) {
    for (const Dtype dtype : kQuantized) {
      const ActivationRow none[4] = {};
      float four[4] = {kNaN, kNaN, kNaN, kNaN};
      CHECK(kernels.quantized_dot(dtype).dot(0, nullptr, none[0]) == 0);
      kernels.quantized_dot(dtype).dot4(0, nullptr, none, four);
      CHECK(std::all_of(four, four + 4, [](float v) { return v == 0; }));
    }
  });
}

TEST_CASE("nothing saturates when every weight and activation is as large as it can be") {
  for_each_level([](const SimdKernels& kernels) {
    for (const Dtype dtype : kQuantized) {
      CAPTURE(dtype_name(dtype));
      for (const int byte : {0x00, 0x7f, 0x80, 0x81, 0xff}) {
        CAPTURE(byte);
        std::mt19937 rng(5);
        const std::int64_t k = 1280;
        const Row row = make_row(dtype, k, rng, [&] { return static_cast<std::byte>(byte); });
        std::vector<Activation> x;
        x.emplace_back(kernels, std::vector<float>(k, 3.0f));   // q = 127
        x.emplace_back(kernels, std::vector<float>(k, -3.0f));  // q = -127
        x.emplace_back(kernels, std::vector<float>(k, 1e30f));
        x.emplace_back(kernels, std::vector<float>(k, 0.0f));
        REQUIRE(x[0].q[0] == 127);
        REQUIRE(x[1].q[0] == -127);
        check_quantized_dot(kernels, dtype, row, x);
      }
    }
  });
}

TEST_CASE("quantizing activations costs at most half a step an element") {
  for_each_level([](const SimdKernels& kernels) {
    for (const Dtype dtype : kQuantized) {
      CAPTURE(dtype_name(dtype));
      std::mt19937 rng(11);
      const std::int64_t k = 2304;
      const Row row = random_row(dtype, k, rng);
      const std::vector<float> x = random_floats(k, rng);
      const Activation quantized(kernels, x);
      const Reference expected = reference(row.values, x);
      double allowed = kRounding * expected.magnitude;
      for (std::size_t i = 0; i < x.size(); ++i) {
        allowed += 0.5 * static_cast<double>(quantized.scale[i / 32] * std::fabs(row.values[i]));
      }
      const float got = kernels.quantized_dot(dtype).dot(k, row.data(), quantized.view);
      CHECK(std::fabs(static_cast<double>(got) - expected.dot) <= allowed);
    }
  });
}

TEST_CASE("activations are quantized alike on every level, whatever their size") {
  std::mt19937 rng(3);
  std::vector<float> x = random_floats(32 * 9, rng);
  const auto scale_block = [&](int block, float factor) {
    for (int j = 0; j < 32; ++j) {
      x[static_cast<std::size_t>(32 * block + j)] *= factor;
    }
  };
  scale_block(1, 0);
  scale_block(2, 1e-44f);
  scale_block(3, 1e-30f);
  scale_block(4, 1e37f);
  for (std::size_t j = 0; j < 32; ++j) {
    x[5 * 32 + j] = static_cast<float>(j) - 15.5f;  // scale 16.5 / 127: ties are possible
  }
  x[6 * 32] = -127.0f;
  x[6 * 32 + 1] = 2.5f;  // exactly between two steps: to even
  for (std::size_t j = 2; j < 32; ++j) {
    x[6 * 32 + j] = 0;
  }
  const Activation expected(simd_kernels(SimdLevel::generic), x);
  CHECK(expected.q[6 * 32] == -127);
  CHECK(expected.q[6 * 32 + 1] == 2);
  CHECK(expected.scale[1] == 0);
  CHECK(expected.scale[2] == 0);
  CHECK(expected.scale[3] > 0);
  for_each_level([&](const SimdKernels& kernels) {
    const Activation got(kernels, x);
    CHECK(got.q == expected.q);
    CHECK(got.scale == expected.scale);
    CHECK(got.sum == expected.sum);
    for (std::size_t i = 0; i < x.size(); ++i) {
      CAPTURE(i);
      const float largest = std::fabs(got.scale[i / 32]);
      REQUIRE(std::abs(got.q[i]) <= 127);
      REQUIRE(std::fabs(got.values[i] - x[i]) <= 0.50001f * largest + 1e-30f);
    }
    for (std::size_t b = 0; b < got.sum.size(); ++b) {
      int total = 0;
      for (std::size_t j = 0; j < 32; ++j) {
        total += got.q[32 * b + j];
      }
      CHECK(got.sum[b] == got.scale[b] * static_cast<float>(total));
    }
  });
}

TEST_CASE("an infinite or NaN activation is not lost in quantization") {
  for_each_level([](const SimdKernels& kernels) {
    for (const float bad : {kNaN, kInfinity, -kInfinity}) {
      for (const Dtype dtype : kQuantized) {
        CAPTURE(dtype_name(dtype));
        std::mt19937 rng(1);
        const Row row = random_row(dtype, 512, rng);
        std::vector<float> x = random_floats(512, rng);
        x[300] = bad;
        const Activation quantized(kernels, x);
        CHECK(std::isnan(kernels.quantized_dot(dtype).dot(512, row.data(), quantized.view)));
      }
    }
  });
}

TEST_CASE(
    "an activation row's view lies within its buffer and is aligned for a row of any length") {
  for (const std::int64_t k : {0, 32, 64, 96, 2048, 4864}) {
    CHECK(activation_row_bytes(k) % 64 == 0);
    std::vector<std::byte> buffer(activation_row_bytes(k));
    const ActivationRow row = activation_row(buffer.data(), k);
    CHECK(reinterpret_cast<std::byte*>(row.q) == buffer.data());
    CHECK(reinterpret_cast<std::byte*>(row.scale) == buffer.data() + k);
    CHECK(row.sum == row.scale + k / 32);
    CHECK(reinterpret_cast<std::byte*>(row.sum + k / 32) <= buffer.data() + buffer.size());
    CHECK(row.from(2).q == row.q + 64);
    CHECK(row.from(2).sum == row.sum + 2);
  }
}

constexpr std::int64_t kLengths[] = {0,  1,  3,  7,  8,  9,  15,  16,  17,  23,
                                     31, 32, 33, 63, 64, 65, 100, 128, 129, 1000};

Row float_row(Dtype dtype, std::int64_t n, std::mt19937& rng) {
  const std::vector<float> x = random_floats(n, rng);
  Row row;
  row.bytes.resize(1 + dtype_bytes(dtype, n));
  simd_kernels(SimdLevel::generic).float_row(dtype).from_f32(n, x.data(), row.bytes.data() + 1);
  row.values.resize(x.size());
  dequantize_row(dtype, std::span(row.bytes).subspan(1), row.values);
  return row;
}

TEST_CASE("float rows: dot, dot4, axpy and to_f32 are right at any length") {
  for_each_level([](const SimdKernels& kernels) {
    for (const Dtype dtype : kFloating) {
      CAPTURE(dtype_name(dtype));
      const FloatRow& ops = kernels.float_row(dtype);
      for (const std::int64_t n : kLengths) {
        CAPTURE(n);
        std::mt19937 rng(static_cast<unsigned>(n));
        const Row row = float_row(dtype, n, rng);
        const std::vector<float> x[4] = {random_floats(n, rng), random_floats(n, rng),
                                         random_floats(n, rng), random_floats(n, rng)};
        const float* const columns[4] = {x[0].data(), x[1].data(), x[2].data(), x[3].data()};
        float four[6] = {kNaN, kNaN, kNaN, kNaN, kNaN, 7.0f};
        ops.dot4(n, row.data(), columns, four + 1);
        CHECK(std::isnan(four[0]));
        CHECK(four[5] == 7.0f);
        for (int c = 0; c < 4; ++c) {
          const Reference expected = reference(row.values, x[c]);
          const double tolerance = 1e-6 * expected.magnitude;
          const float one = ops.dot(n, row.data(), columns[c]);
          REQUIRE(std::fabs(static_cast<double>(one) - expected.dot) <= tolerance);
          REQUIRE(std::fabs(static_cast<double>(four[c + 1]) - expected.dot) <= tolerance);
        }

        std::vector<float> y = x[0];
        ops.axpy(n, -1.75f, row.data(), y.data());
        for (std::size_t i = 0; i < y.size(); ++i) {
          const double want =
              static_cast<double>(x[0][i]) - 1.75 * static_cast<double>(row.values[i]);
          REQUIRE(std::fabs(static_cast<double>(y[i]) - want) <= 1e-6);
        }

        std::vector<float> out(static_cast<std::size_t>(n), kNaN);
        ops.to_f32(n, row.data(), out.data());
        CHECK(out == row.values);
      }
    }
  });
}

struct alignas(64) CacheLine {
  std::byte bytes[64];
};
std::vector<CacheLine> cache_lines(std::size_t bytes) {
  return std::vector<CacheLine>((bytes + 63) / 64);
}

void round_to_bf16(std::vector<float>& values) {
  for (float& value : values) value = bf16_to_float(float_to_bf16(value));
}

// Products of `tokens` tokens with `rows` rows of k values, the first `split` of them in a panel of their own.
void check_panels(const SimdKernels& kernels, Dtype dtype, std::int64_t k, std::int64_t split,
                  std::int64_t rows, std::int64_t tokens) {
  const PanelKernel& kernel = kernels.panel(dtype);
  const bool bytes_of_x = kernel.activations == PanelActivations::biased_bytes;
  const bool tiles_of_x = kernel.activations == PanelActivations::bf16_tiles;
  std::mt19937 rng(static_cast<unsigned>(k + 64 * rows + tokens));
  std::vector<Row> weights;
  std::vector<std::byte> bytes(1);
  for (std::int64_t n = 0; n < rows; ++n) {
    const bool quantized = dtype_info(dtype).quantized;
    weights.push_back(quantized ? random_row(dtype, k, rng) : float_row(dtype, k, rng));
    bytes.insert(bytes.end(), weights.back().bytes.begin() + 1, weights.back().bytes.end());
    if (tiles_of_x) round_to_bf16(weights.back().values);
  }
  // What the kernel reads, and what that is worth.
  const auto stride = static_cast<std::int64_t>(
      bytes_of_x ? activation_row_bytes(k) : static_cast<std::size_t>(k) * sizeof(float));
  auto x = cache_lines(tiles_of_x ? tile_activation_bytes(tokens, k)
                                  : static_cast<std::size_t>(stride * tokens));
  auto* x_bytes = reinterpret_cast<std::byte*>(x.data());
  std::vector<std::vector<float>> values;
  for (std::int64_t t = 0; t < tokens; ++t) {
    values.push_back(random_floats(k, rng));
    std::byte* row = x_bytes + t * stride;
    if (tiles_of_x) {
      kernels.store_tile_activation(k, values.back().data(), t, x_bytes);
      round_to_bf16(values.back());
    } else if (bytes_of_x) {
      kernels.quantize_activation_row(k, values.back().data(), -128, activation_row(row, k));
      values.back() = Activation(kernels, values.back()).values;
    } else {
      std::memcpy(row, values.back().data(), static_cast<std::size_t>(stride));
    }
  }
  auto panel = cache_lines(kernel.bytes);
  auto* panel_bytes = reinterpret_cast<std::byte*>(panel.data());
  const std::int64_t width = rows + 1;
  std::vector<float> out(static_cast<std::size_t>(tokens * width), kNaN);
  const auto row_stride = static_cast<std::int64_t>(dtype_bytes(dtype, k));
  const auto multiply = [&](std::int64_t first, std::int64_t count) {
    const std::byte* from = bytes.data() + 1 + dtype_bytes(dtype, first);
    kernel.pack({from, row_stride, rows}, count, panel_bytes);
    kernel.multiply(count, panel_bytes, {x_bytes, stride, tokens, k, first},
                    {out.data(), width, rows, first > 0});
  };
  if (split > 0) multiply(0, split);
  multiply(split, k - split);
  // A weight with a minimum may round to the other bf16 than its dequantized value does: 2^-8 of a few terms.
  const double rounding = tiles_of_x ? 1e-3 : kRounding;
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t n = 0; n < rows; ++n) {
      const Reference want = reference(weights[static_cast<std::size_t>(n)].values,
                                       values[static_cast<std::size_t>(t)]);
      const float got = out[static_cast<std::size_t>(t * width + n)];
      REQUIRE(std::fabs(static_cast<double>(got) - want.dot) <= rounding * want.magnitude);
    }
    REQUIRE(std::isnan(out[static_cast<std::size_t>(t * width + rows)]));
  }
}

TEST_CASE("panels are as exact as their operands, whatever their rows, tokens and length") {
  for_each_level([](const SimdKernels& kernels) {
    for (int d = 0; d < kDtypeCount; ++d) {
      const auto dtype = static_cast<Dtype>(d);
      if (kernels.panel(dtype).rows == 0) continue;
      CAPTURE(dtype_name(dtype));
      const std::int64_t block = dtype_info(dtype).block_elements;
      for (const std::int64_t k : {block, 3 * block, 512 + block}) {
        CAPTURE(k);
        for (const std::int64_t rows : {1, 16, 19, 32}) {
          for (const std::int64_t tokens : {1, 5, 6, 14, 17, 32, 45}) {
            check_panels(kernels, dtype, k, 0, rows, tokens);
          }
        }
        // Activations are quantized by 32, which a panel starts at.
        if (k > 512) check_panels(kernels, dtype, k, 512, 17, 7);
      }
    }
  });
}

TEST_CASE("from_f32 rounds as graph/half.h does, in every class of numbers") {
  std::vector<float> x = {0.0f,        -0.0f,       1.0f,           65504.0f,  65519.9f,
                          65520.0f,    -1e30f,      3.4e38f,        6e-8f,     2.9e-8f,
                          -6.1e-5f,    1e-40f,      1.00048828125f, kInfinity, -kInfinity,
                          1.00390625f, 1.01171875f, 0x1.fffffep127f};
  std::mt19937 rng(2);
  for (int i = 0; i < 5000; ++i) {
    const auto value = std::bit_cast<float>(static_cast<std::uint32_t>(rng()));
    x.push_back(std::isnan(value) ? 1.5f : value);
  }
  const auto n = static_cast<std::int64_t>(x.size());
  for_each_level([&](const SimdKernels& kernels) {
    std::vector<std::uint16_t> half(x.size()), brain(x.size());
    kernels.float_row(Dtype::f16).from_f32(n, x.data(), reinterpret_cast<std::byte*>(half.data()));
    kernels.float_row(Dtype::bf16)
        .from_f32(n, x.data(), reinterpret_cast<std::byte*>(brain.data()));
    for (std::size_t i = 0; i < x.size(); ++i) {
      CAPTURE(x[i]);
      REQUIRE(half[i] == float_to_f16(x[i]));
      REQUIRE(brain[i] == float_to_bf16(x[i]));
    }
    std::vector<float> nans(9, std::bit_cast<float>(0xffffffffu));
    nans[1] = std::bit_cast<float>(0x7f800001u);
    kernels.float_row(Dtype::f16)
        .from_f32(9, nans.data(), reinterpret_cast<std::byte*>(half.data()));
    kernels.float_row(Dtype::bf16)
        .from_f32(9, nans.data(), reinterpret_cast<std::byte*>(brain.data()));
    for (std::size_t i = 0; i < 9; ++i) {
      CHECK(std::isnan(f16_to_float(half[i])));
      CHECK(std::isnan(bf16_to_float(brain[i])));
    }
  });
}

TEST_CASE("sums of squares and maxima are right at any length") {
  for_each_level([](const SimdKernels& kernels) {
    for (const std::int64_t n : kLengths) {
      CAPTURE(n);
      std::mt19937 rng(static_cast<unsigned>(n));
      std::vector<float> x = random_floats(n, rng);
      const Reference squares = reference(x, x);
      const auto got = static_cast<double>(kernels.sum_of_squares(n, x.data()));
      CHECK(std::fabs(got - squares.dot) <= kRounding * squares.dot);
      for (float& value : x) {
        value = -std::fabs(value) - 1;  // a maximum that starts at zero would be wrong
      }
      const float largest = x.empty() ? -kInfinity : *std::max_element(x.begin(), x.end());
      CHECK(kernels.max(n, x.data()) == largest);
    }
  });
}

TEST_CASE("exp is within 2 ulp over its range, zero below it, and its sum is right") {
  for_each_level([](const SimdKernels& kernels) {
    std::vector<float> x;
    for (int i = 0; i <= 200001; ++i) {
      x.push_back(-87.3f + 176.0f * static_cast<float>(i) / 200001);
    }
    std::vector<float> y = x;
    kernels.exp_and_sum(static_cast<std::int64_t>(y.size()), 0.0f, y.data());
    double worst = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double want = std::exp(static_cast<double>(x[i]));
      const float near = static_cast<float>(want);
      const double ulp = std::isinf(near) ? 1e30
                                          : static_cast<double>(near) -
                                                static_cast<double>(std::nextafter(near, 0.0f));
      worst = std::max(worst, std::fabs(static_cast<double>(y[i]) - want) / ulp);
    }
    CHECK(worst <= 2);

    for (const std::int64_t n : kLengths) {
      CAPTURE(n);
      std::mt19937 rng(static_cast<unsigned>(n));
      const std::vector<float> in = random_floats(n, rng);
      std::vector<float> out = in;
      const auto got = static_cast<double>(kernels.exp_and_sum(n, 3.0f, out.data()));
      double want = 0;
      for (std::size_t i = 0; i < in.size(); ++i) {
        const double e = std::exp(static_cast<double>(in[i]) - 3.0);
        want += e;
        REQUIRE(std::fabs(static_cast<double>(out[i]) - e) <= 1e-6 * e);
      }
      CHECK(std::fabs(got - want) <= kRounding * want);
    }

    float special[4] = {-kInfinity, -1e30f, 0.0f, kNaN};
    kernels.exp_and_sum(4, 0.0f, special);
    CHECK(special[0] == 0);  // what a masked score becomes
    CHECK(special[1] == 0);
    CHECK(special[2] == 1);
    CHECK(std::isnan(special[3]));
  });
}

TEST_CASE("silu_mul is right at any length and does not overflow far from zero") {
  for_each_level([](const SimdKernels& kernels) {
    for (const std::int64_t n : kLengths) {
      CAPTURE(n);
      std::mt19937 rng(static_cast<unsigned>(n));
      std::vector<float> gate = random_floats(n, rng);
      const std::vector<float> up = random_floats(n, rng);
      if (n >= 3) {
        gate[0] = -1000;
        gate[1] = 1000;
        gate[2] = -88.5f;
      }
      std::vector<float> out(gate.size(), kNaN);
      kernels.silu_mul(n, gate.data(), up.data(), out.data());
      for (std::size_t i = 0; i < gate.size(); ++i) {
        const auto g = static_cast<double>(gate[i]);
        const double want = g / (1 + std::exp(-g)) * static_cast<double>(up[i]);
        REQUIRE(std::fabs(static_cast<double>(out[i]) - want) <= 2e-6 * std::fabs(want) + 1e-30);
      }
    }
  });
}

}  // namespace
}  // namespace l2a
