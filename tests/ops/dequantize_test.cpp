// dequantize_row against vectors written by the ecosystem's own `gguf` package (tests/data/blocks).
#include "ops/dequantize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <vector>

#include "graph/error.h"
#include "ops/blocks.h"

namespace l2a {
namespace {

std::vector<std::byte> read_file(const std::string& name) {
  std::ifstream in(std::string(L2A_TEST_DATA) + "/blocks/" + name, std::ios::binary);
  REQUIRE_MESSAGE(in.good(), name);
  const std::vector<char> chars{std::istreambuf_iterator<char>(in), {}};
  std::vector<std::byte> bytes(chars.size());
  std::memcpy(bytes.data(), chars.data(), chars.size());
  return bytes;
}

constexpr Dtype kStored[] = {Dtype::f16,  Dtype::bf16, Dtype::q4_0, Dtype::q4_1, Dtype::q5_0,
                             Dtype::q5_1, Dtype::q8_0, Dtype::q4_k, Dtype::q5_k, Dtype::q6_k};

TEST_CASE("every stored dtype means what the gguf package says it means") {
  for (const Dtype dtype : kStored) {
    const std::string name(dtype_name(dtype));
    CAPTURE(name);
    const std::vector<std::byte> row = read_file(name + ".bin");
    const std::vector<std::byte> expected_bytes = read_file(name + ".f32.bin");
    std::vector<float> expected(expected_bytes.size() / 4);
    std::memcpy(expected.data(), expected_bytes.data(), expected_bytes.size());
    REQUIRE(expected.size() >= 64);

    std::vector<float> got(expected.size(), std::numeric_limits<float>::quiet_NaN());
    dequantize_row(dtype, row, got);
    // Same operations in the same order, so equal bits; but a compiler may fuse the multiply and
    // the add of the types with a minimum on machines that have the instruction, which saves one
    // rounding.
    const bool has_minimum = dtype == Dtype::q4_1 || dtype == Dtype::q5_1 || dtype == Dtype::q4_k ||
                             dtype == Dtype::q5_k;
    float largest = 0;
    for (const float value : expected) {
      largest = std::max(largest, std::fabs(value));
    }
    const float tolerance = has_minimum ? largest * 0x1p-23f : 0.0f;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(i);
      REQUIRE(std::fabs(got[i] - expected[i]) <= tolerance);
    }
  }
}

TEST_CASE("f32 rows are copied at any address") {
  const float values[3] = {1.5f, -0.0f, 3e38f};
  std::vector<std::byte> bytes(13);
  std::memcpy(bytes.data() + 1, values, 12);
  float out[3];
  dequantize_row(Dtype::f32, std::span(bytes).subspan(1), out);
  CHECK(std::memcmp(out, values, 12) == 0);
}

TEST_CASE("an empty row is legal for every dtype") {
  for (const Dtype dtype : kStored) {
    CHECK_NOTHROW(dequantize_row(dtype, {}, {}));
  }
}

TEST_CASE("a row of the wrong length is refused, naming the type and both sizes") {
  std::vector<std::byte> row(34 + 1);
  std::vector<float> out(32);
  CHECK_THROWS_WITH_AS(dequantize_row(Dtype::q8_0, row, out),
                       "dequantize_row: a row of 32 q8_0 values is 34 bytes, not 35", Error);
  std::vector<float> part(31);
  CHECK_THROWS_AS(dequantize_row(Dtype::q8_0, row, part), Error);
}

TEST_CASE("i32 has no float meaning") {
  std::vector<std::byte> row(8);
  std::vector<float> out(2);
  CHECK_THROWS_AS(dequantize_row(Dtype::i32, row, out), Error);
}

TEST_CASE("six-bit scales and minimums are taken from the right bits") {
  PackedScales packed{};
  packed.bytes[1] = 0x3f;  // scale 1
  packed.bytes[5] = 0xc0;  // high bits of minimum 5
  packed.bytes[9] = 0x2a;  // low bits: scale 5 = 10, minimum 5 = 2
  packed.bytes[3] = 0x40;  // high bits of scale 7
  const SubBlockScales sub = unpack_scales(packed);
  const std::uint8_t scale[8] = {0, 63, 0, 0, 0, 10, 0, 16};
  const std::uint8_t min[8] = {0, 0, 0, 0, 0, 2 + 48, 0, 0};
  CHECK(std::memcmp(sub.scale, scale, 8) == 0);
  CHECK(std::memcmp(sub.min, min, 8) == 0);
}

}  // namespace
}  // namespace l2a
