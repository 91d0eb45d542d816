#include "ops/quantize.h"

#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <vector>

#include "graph/error.h"
#include "graph/half.h"

namespace l2a {
namespace {

std::uint16_t scale_of(const std::array<std::byte, 34>& block) {
  std::uint16_t scale = 0;
  std::memcpy(&scale, block.data(), sizeof scale);
  return scale;
}

TEST_CASE("q8_0 stores max/127 as f16 and the nearest codes, halves away from zero") {
  std::vector<float> values(32, 0.0f);
  values[0] = 127.0f;
  values[1] = -127.0f;
  values[2] = 0.5f;
  values[3] = -2.5f;
  values[4] = 63.4f;
  std::array<std::byte, 34> block{};
  quantize_row(Dtype::q8_0, values, block);
  CHECK(f16_to_float(scale_of(block)) == 1.0f);
  const auto code = [&](std::size_t i) {
    return static_cast<int>(static_cast<std::int8_t>(block[2 + i]));
  };
  CHECK(code(0) == 127);
  CHECK(code(1) == -127);
  CHECK(code(2) == 1);
  CHECK(code(3) == -3);
  CHECK(code(4) == 63);
  CHECK(code(5) == 0);
}

TEST_CASE("q8_0 blocks of zeros and of subnormals become zeros") {
  std::array<std::byte, 34> block{};
  quantize_row(Dtype::q8_0, std::vector<float>(32, 0.0f), block);
  CHECK(block == std::array<std::byte, 34>{});
  quantize_row(Dtype::q8_0, std::vector<float>(32, std::numeric_limits<float>::denorm_min()),
               block);
  CHECK(block == std::array<std::byte, 34>{});
}

TEST_CASE("f32, f16 and bf16 keep what they can hold") {
  const std::vector<float> values = {1.0f, -0.25f, 65504.0f, 0.0f};
  std::array<std::byte, 16> wide{};
  quantize_row(Dtype::f32, values, wide);
  CHECK(std::memcmp(wide.data(), values.data(), 16) == 0);
  std::array<std::uint16_t, 4> narrow{};
  quantize_row(Dtype::f16, values, std::as_writable_bytes(std::span(narrow)));
  CHECK(f16_to_float(narrow[2]) == 65504.0f);
  quantize_row(Dtype::bf16, values, std::as_writable_bytes(std::span(narrow)));
  CHECK(bf16_to_float(narrow[1]) == -0.25f);
}

TEST_CASE("a wrong size or a type without an encoder is refused") {
  std::array<std::byte, 34> block{};
  CHECK_THROWS_AS(quantize_row(Dtype::q8_0, std::vector<float>(31), block), Error);
  CHECK_THROWS_AS(quantize_row(Dtype::f32, std::vector<float>(3), block), Error);
  CHECK_THROWS_AS(quantize_row(Dtype::i32, std::vector<float>(8), std::span(block).first(32)),
                  Error);
}

}  // namespace
}  // namespace l2a
