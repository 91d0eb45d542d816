#include "ops/scatter_add_rows.h"

#include <doctest/doctest.h>

#include "ops/add.h"
#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

TEST_CASE("scatter_add_rows adds each compact row where it came from and leaves the others") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({3, 2}, {1, 2, 3, 4, 5, 6});
    const Tensor source = run.floats({3, 2}, {10, 20, 30, 40, 50, 60});
    const Tensor delta = gather_rows(run.graph, source, run.rows(3, {0, 2}));
    check_values(run.result(scatter_add_rows(run.graph, x, delta)), {11, 22, 3, 4, 55, 66});
  });
}

TEST_CASE("scatter_add_rows of no rows is its input") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({2, 1}, {1, 2});
    const Tensor delta = gather_rows(run.graph, x, run.rows(2, {}));
    check_values(run.result(scatter_add_rows(run.graph, x, delta)), {1, 2});
  });
}

TEST_CASE("scatter_add_rows leaves its input as it was where that is needed again") {
  on_each_backend([](OpRun& run) {
    const Tensor x = add(run.graph, run.floats({2, 1}, {1, 2}), run.floats({1}, {1}));
    const Tensor delta = gather_rows(run.graph, x, run.rows(2, {1}));
    const Tensor sum = scatter_add_rows(run.graph, x, delta);  // 2, 3 + 3
    check_values(run.result(add(run.graph, sum, x)), {4, 9});
  });
}

TEST_CASE("scatter_add_rows refuses sides that do not fit") {
  const auto delta_of = [](OpRun& run, std::int64_t tokens, std::int64_t width) {
    return gather_rows(run.graph, run.leaf({tokens, width}), run.rows(tokens, {0}));
  };
  check_refused("scatter_add_rows", "the addend must be compact", [](OpRun& run) {
    scatter_add_rows(run.graph, run.leaf({3, 2}), run.leaf({3, 2}));
  });
  check_refused("scatter_add_rows", "the shapes differ", [&](OpRun& run) {
    scatter_add_rows(run.graph, run.leaf({3, 2}), delta_of(run, 3, 4));
  });
  check_refused("scatter_add_rows", "the shapes differ", [&](OpRun& run) {
    scatter_add_rows(run.graph, run.leaf({3, 2}), delta_of(run, 4, 2));
  });
  check_refused("scatter_add_rows", "the input must be full", [&](OpRun& run) {
    const Tensor delta = delta_of(run, 3, 2);
    scatter_add_rows(run.graph, delta, delta);
  });
  check_refused("scatter_add_rows", "the input must be f32", [&](OpRun& run) {
    scatter_add_rows(run.graph, run.leaf({3, 2}, Dtype::f16), delta_of(run, 3, 2));
  });
}

}  // namespace
}  // namespace l2a::test
