#include "ops/cast.h"

#include <doctest/doctest.h>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

Values cast_of(OpRun& run, Dtype to, const std::vector<float>& values) {
  const Tensor x = run.floats({1, static_cast<std::int64_t>(values.size())}, values);
  return run.result(cast(run.graph, x, to));
}

TEST_CASE("cast to f16 rounds to nearest, ties to even") {
  on_each_backend([](OpRun& run) {
    // From 1 on, f16 has steps of 2^-10.
    check_values(cast_of(run, Dtype::f16,
                         {1 + 0x1p-11f, 1 + 3 * 0x1p-11f, 1 + 0x1p-11f + 0x1p-20f, -1 - 0x1p-11f}),
                 {1, 1 + 0x1p-9, 1 + 0x1p-10, -1});
  });
}

TEST_CASE("cast to bf16 rounds to nearest, ties to even") {
  on_each_backend([](OpRun& run) {
    // From 1 on, bf16 has steps of 2^-7.
    check_values(cast_of(run, Dtype::bf16,
                         {1 + 0x1p-8f, 1 + 3 * 0x1p-8f, 1 + 0x1p-8f + 0x1p-20f, -1 - 0x1p-8f}),
                 {1, 1 + 0x1p-6, 1 + 0x1p-7, -1});
  });
}

TEST_CASE("cast to f16 keeps subnormals and goes to infinity only past the largest number") {
  on_each_backend([](OpRun& run) {
    // The smallest is 2^-24: half of it ties to zero, one and a half to two. 65504 is the largest;
    // 65520 is halfway to what would follow.
    check_values(
        cast_of(run, Dtype::f16, {0x1p-24f, 0x1p-25f, 3 * 0x1p-25f, 65519.0f, 65520.0f, -1e30f}),
        {0x1p-24, 0, 0x1p-23, 65504, INFINITY, -INFINITY});
  });
}

TEST_CASE("cast keeps NaN, infinities and the sign of zero") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    CAPTURE(dtype_name(dtype));
    on_each_backend([&](OpRun& run) {
      const Values values = cast_of(run, dtype, {NAN, INFINITY, -INFINITY, -0.0f});
      check_values(values, {NAN, INFINITY, -INFINITY, 0});
      CHECK(std::signbit(values[3]));
    });
  }
}

TEST_CASE("cast from a 16-bit dtype gives exactly what it holds") {
  const std::vector<float> values = {1.5f, -0.25f, 96, 0x1p-10f};
  for (const Dtype from : {Dtype::f16, Dtype::bf16}) {
    for (const Dtype to : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
      CAPTURE(dtype_name(from));
      CAPTURE(dtype_name(to));
      on_each_backend([&](OpRun& run) {
        check_values(run.result(cast(run.graph, run.weight(from, {2, 2}, values), to)),
                     {values.begin(), values.end()});
      });
    }
  }
}

TEST_CASE("a copy of a view holds the view's part") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({3, 1, 2}, {1, 2, 3, 4, 5, 6});
    check_values(run.result(copy(run.graph, run.graph.slice(x, 1, 3))), {3, 4, 5, 6});
  });
}

TEST_CASE("cast refuses dtypes that caches do not have, and compact tensors") {
  check_refused("cast", "the input must be f32, f16 or bf16",
                [](OpRun& run) { copy(run.graph, run.leaf({2}, Dtype::i32)); });
  check_refused("cast", "the input must be f32, f16 or bf16",
                [](OpRun& run) { cast(run.graph, run.leaf({32}, Dtype::q8_0), Dtype::f32); });
  check_refused("cast", "the result must be f32, f16, bf16 or q8_0",
                [](OpRun& run) { cast(run.graph, run.leaf({32}), Dtype::q4_0); });
  check_refused("cast", "whole blocks", [](OpRun& run) {
    cast(run.graph, run.leaf({2, 48}), Dtype::q8_0);
  });
  check_refused("cast", "the input must be full", [](OpRun& run) {
    copy(run.graph, gather_rows(run.graph, run.leaf({2, 3}), run.rows(2, {1})));
  });
}

}  // namespace
}  // namespace l2a::test
