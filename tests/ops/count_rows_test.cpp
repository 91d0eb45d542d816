#include "ops/count_rows.h"

#include <doctest/doctest.h>

#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

TEST_CASE("count_rows adds to its own element of the tally and to no other") {
  on_each_backend([](OpRun& run) {
    const Tensor tally = run.counters(3);
    count_rows(run.graph, tally, run.rows(4, {0, 1, 3}), 1);
    count_rows(run.graph, tally, run.rows(2, {}), 0);
    count_rows(run.graph, tally, run.rows(2, {1}), 1);
    run.results({});
    check_values(run.contents(tally), {0, 4, 0});
  });
}

TEST_CASE("count_rows refuses what is not a tally, an element of it and Rows") {
  const auto refused = [](std::string_view why, const Shape& tally, Dtype dtype, bool rows,
                          std::int64_t index) {
    check_refused("count_rows", why, [&](OpRun& run) {
      const Tensor counted = rows ? Tensor{run.rows(2, {0}).id} : run.leaf({3}, Dtype::i32);
      count_rows(run.graph, run.leaf(tally, dtype), Rows{counted.id}, index);
    });
  };
  refused("the tally must be i32", {3}, Dtype::f32, true, 0);
  refused("the tally must have 1 extents", {3, 1}, Dtype::i32, true, 0);
  refused("must be Rows", {3}, Dtype::i32, false, 0);
  refused("inside the tally", {3}, Dtype::i32, true, 3);
  refused("inside the tally", {3}, Dtype::i32, true, -1);
}

}  // namespace
}  // namespace l2a::test
