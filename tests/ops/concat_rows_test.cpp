#include "ops/concat_rows.h"

#include <doctest/doctest.h>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

Tensor concat_of(OpRun& run, std::initializer_list<Tensor> parts) {
  return concat_rows(run.graph, std::span(parts.begin(), parts.size()));
}

TEST_CASE("concat_rows puts the rows of its parts one below the other, in their order") {
  on_each_backend([](OpRun& run) {
    const Tensor a = run.floats({1, 2}, {1, 2}), b = run.floats({3, 2}, {3, 4, 5, 6, 7, 8});
    check_values(run.result(concat_of(run, {b, a, a})), {3, 4, 5, 6, 7, 8, 1, 2, 1, 2});
  });
}

TEST_CASE("concat_rows takes rows of a larger tensor where they are") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({4, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
    const Tensor last = run.graph.slice(x, 3, 4), middle = run.graph.slice(x, 1, 3);
    check_values(run.result(concat_of(run, {last, middle})), {7, 8, 3, 4, 5, 6});
  });
}

TEST_CASE("concat_rows of one part adds nothing to the graph") {
  OpRun run(make_reference_backend());
  const Tensor x = run.leaf({2, 3});
  CHECK(concat_of(run, {x}).id == x.id);
}

TEST_CASE("concat_rows refuses parts that do not fit together") {
  check_refused("concat_rows", "the same innermost extent", [](OpRun& run) {
    concat_of(run, {run.leaf({1, 2}), run.leaf({1, 3})});
  });
  check_refused("concat_rows", "every part must be f32", [](OpRun& run) {
    concat_of(run, {run.leaf({1, 2}), run.leaf({1, 2}, Dtype::f16)});
  });
  check_refused("concat_rows", "every part must have 2 extents", [](OpRun& run) {
    concat_of(run, {run.leaf({1, 2}), run.leaf({2})});
  });
  check_refused("concat_rows", "every part must be full", [](OpRun& run) {
    const Tensor x = run.leaf({2, 3});
    concat_of(run, {x, gather_rows(run.graph, x, run.rows(2, {0}))});
  });
  check_refused("concat_rows", "at least one part", [](OpRun& run) { concat_of(run, {}); });
}

}  // namespace
}  // namespace l2a::test
