#include "ops/gather_rows.h"

#include <doctest/doctest.h>

#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

TEST_CASE("gather_rows picks the rows of the list and says how many there are") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({4, 2}, {10, 11, 20, 21, 30, 31, 40, 41});
    const Rows rows = run.rows(4, {0, 2, 3});
    const Tensor picked = gather_rows(run.graph, x, rows);
    CHECK(run.graph.info(picked).rows == rows.id);
    check_values(run.result(picked), {10, 11, 30, 31, 40, 41});
  });
}

TEST_CASE("gather_rows of no rows touches nothing") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({2, 2}, {10, 11, 20, 21});
    check_values(run.result(gather_rows(run.graph, x, run.rows(2, {}))), {});
  });
}

TEST_CASE("gather_rows refuses what is not a full tensor and Rows of its tokens") {
  check_refused("gather_rows", "another number of tokens", [](OpRun& run) {
    gather_rows(run.graph, run.leaf({3, 2}), run.rows(4, {0}));
  });
  check_refused("gather_rows", "must be Rows", [](OpRun& run) {
    gather_rows(run.graph, run.leaf({3, 2}), Rows{run.leaf({4}, Dtype::i32).id});
  });
  check_refused("gather_rows", "compact already", [](OpRun& run) {
    const Rows rows = run.rows(3, {0});
    gather_rows(run.graph, gather_rows(run.graph, run.leaf({3, 2}), rows), rows);
  });
  check_refused("gather_rows", "the input must be f32", [](OpRun& run) {
    gather_rows(run.graph, run.leaf({3, 2}, Dtype::f16), run.rows(3, {0}));
  });
  check_refused("gather_rows", "the input must have 2 extents", [](OpRun& run) {
    gather_rows(run.graph, run.leaf({3, 2, 2}), run.rows(3, {0}));
  });
}

}  // namespace
}  // namespace l2a::test
