#include "ops/row_lookup.h"

#include <doctest/doctest.h>

#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

TEST_CASE("row_lookup gives the rows asked for, in that order, as often as asked") {
  on_each_backend([](OpRun& run) {
    const Tensor table = run.floats({3, 2}, {10, 11, 20, 21, 30, 31});
    check_values(run.result(row_lookup(run.graph, table, run.indices({2, 0, 2, 1}))),
                 {30, 31, 10, 11, 30, 31, 20, 21});
  });
}

TEST_CASE("row_lookup gives the values that the table's dtype holds") {
  // 127 in each row makes q8_0's scale 1, so that whole numbers are exact in all of them.
  std::vector<float> table(64);
  for (std::size_t i = 0; i < 32; ++i) {
    table[i] = static_cast<float>(i) - 16;
    table[32 + i] = -2 * static_cast<float>(i);
  }
  table[0] = 127;
  table[32] = -127;
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16, Dtype::q8_0}) {
    CAPTURE(dtype_name(dtype));
    on_each_backend([&](OpRun& run) {
      check_values(
          run.result(row_lookup(run.graph, run.weight(dtype, {2, 32}, table), run.indices({1}))),
          {table.begin() + 32, table.end()});
    });
  }
}

TEST_CASE("row_lookup refuses tables and indices that cannot be") {
  check_refused("row_lookup", "floating-point or quantized", [](OpRun& run) {
    row_lookup(run.graph, run.leaf({3, 2}, Dtype::i32), run.leaf({1}, Dtype::i32));
  });
  check_refused("row_lookup", "the table must have 2 extents", [](OpRun& run) {
    row_lookup(run.graph, run.leaf({3}), run.leaf({1}, Dtype::i32));
  });
  check_refused("row_lookup", "the indices must be i32", [](OpRun& run) {
    row_lookup(run.graph, run.leaf({3, 2}), run.leaf({1}));
  });
  check_refused("row_lookup", "the indices must have 1 extents", [](OpRun& run) {
    row_lookup(run.graph, run.leaf({3, 2}), run.leaf({1, 1}, Dtype::i32));
  });
  check_refused("row_lookup", "the indices must be i32", [](OpRun& run) {
    row_lookup(run.graph, run.leaf({3, 2}), Tensor{run.rows(3, {1}).id});
  });
}

}  // namespace
}  // namespace l2a::test
