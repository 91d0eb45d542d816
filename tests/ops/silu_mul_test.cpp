#include "ops/silu_mul.h"

#include <doctest/doctest.h>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

TEST_CASE("silu_mul multiplies x / (1 + exp(-x)) by the other side") {
  on_each_backend([](OpRun& run) {
    // 1 / (1 + 1/e) = 0.7310586; -1 / (1 + e) = -0.2689414
    const Tensor gate = run.floats({1, 4}, {0, 1, -1, 2});
    const Tensor up = run.floats({1, 4}, {5, 1, 2, -1});
    check_values(run.result(silu_mul(run.graph, gate, up)),
                 {0, 0.7310586, 2 * -0.2689414, -2 / (1 + std::exp(-2.0))}, kRounding);
  });
}

TEST_CASE("silu_mul of a gate far from zero is the gate, or zero, and never NaN") {
  on_each_backend([](OpRun& run) {
    const Tensor gate = run.floats({2, 3}, {100, -100, 1e30f, -1e30f, INFINITY, NAN});
    const Tensor up = run.floats({2, 3}, {2, 2, 1, 1, 1, 1});
    check_values(run.result(silu_mul(run.graph, gate, up)), {200, 0, 1e30, 0, INFINITY, NAN},
                 kRounding);
  });
}

TEST_CASE("silu_mul refuses sides that do not fit") {
  check_refused("silu_mul", "the shapes differ", [](OpRun& run) {
    silu_mul(run.graph, run.leaf({2, 3}), run.leaf({2, 4}));
  });
  check_refused("silu_mul", "the gate must be f32", [](OpRun& run) {
    silu_mul(run.graph, run.leaf({2, 3}, Dtype::f16), run.leaf({2, 3}));
  });
  check_refused("silu_mul", "the other side must be f32", [](OpRun& run) {
    silu_mul(run.graph, run.leaf({2, 3}), run.leaf({2, 3}, Dtype::f16));
  });
  check_refused("silu_mul", "the gate must have 2 extents",
                [](OpRun& run) { silu_mul(run.graph, run.leaf({3}), run.leaf({3})); });
  check_refused("silu_mul", "both sides must be full", [](OpRun& run) {
    const Tensor x = gather_rows(run.graph, run.leaf({2, 3}), run.rows(2, {1}));
    silu_mul(run.graph, x, x);
  });
}

}  // namespace
}  // namespace l2a::test
