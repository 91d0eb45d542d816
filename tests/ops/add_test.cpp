#include "ops/add.h"

#include <doctest/doctest.h>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

TEST_CASE("add sums two tensors element by element") {
  on_each_backend([](OpRun& run) {
    const Tensor a = run.floats({2, 2}, {1, 2, 3, 4}), b = run.floats({2, 2}, {10, -2, 0.5f, 1e6f});
    check_values(run.result(add(run.graph, a, b)), {11, 0, 3.5, 1000004});
  });
}

TEST_CASE("add puts a bias on every row") {
  on_each_backend([](OpRun& run) {
    const Tensor a = run.floats({3, 2}, {1, 2, 3, 4, 5, 6});
    check_values(run.result(add(run.graph, a, run.floats({2}, {10, 20}))),
                 {11, 22, 13, 24, 15, 26});
  });
}

TEST_CASE("add works on the rows of compact tensors, with a bias and with each other") {
  on_each_backend([](OpRun& run) {
    const Tensor a = run.floats({3, 2}, {1, 2, 3, 4, 5, 6});
    const Tensor picked = gather_rows(run.graph, a, run.rows(3, {1, 2}));
    const Tensor biased = add(run.graph, picked, run.floats({2}, {10, 20}));
    check_values(run.result(add(run.graph, biased, picked)), {16, 28, 20, 32});
  });
}

TEST_CASE("add refuses sides that do not fit") {
  check_refused("add", "the shapes differ", [](OpRun& run) {
    add(run.graph, run.leaf({2, 3}), run.leaf({3, 3}));
  });
  check_refused("add", "the innermost extent", [](OpRun& run) {
    add(run.graph, run.leaf({2, 3}), run.leaf({2}));
  });
  check_refused("add", "the left side must be f32", [](OpRun& run) {
    add(run.graph, run.leaf({2, 3}, Dtype::f16), run.leaf({2, 3}));
  });
  check_refused("add", "the right side must be f32", [](OpRun& run) {
    add(run.graph, run.leaf({2, 3}), run.leaf({3}, Dtype::i32));
  });
  check_refused("add", "the left side must have 2 extents",
                [](OpRun& run) { add(run.graph, run.leaf({3}), run.leaf({3})); });
  check_refused("add", "the same Rows", [](OpRun& run) {
    const Tensor x = run.leaf({2, 3});
    add(run.graph, gather_rows(run.graph, x, run.rows(2, {1})), x);
  });
}

}  // namespace
}  // namespace l2a::test
