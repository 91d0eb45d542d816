#include "ops/rms_norm.h"

#include <doctest/doctest.h>

#include "ops/add.h"
#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

// 3 and 4 have the mean square 12.5.
const double kThree = 3 / std::sqrt(12.5), kFour = 4 / std::sqrt(12.5);

TEST_CASE("rms_norm divides each row by its root mean square and multiplies by the weight") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({2, 2}, {3, 4, 40, -30});
    check_values(run.result(rms_norm(run.graph, x, run.floats({2}, {1, 2}), 0)),
                 {kThree, 2 * kFour, kFour, -2 * kThree}, kRounding);
  });
}

TEST_CASE("rms_norm of heads norms each head by itself") {
  on_each_backend([](OpRun& run) {
    // (0, 5) has the mean square 12.5 too; (1, 1) has 1.
    const Tensor x = run.floats({1, 3, 2}, {3, 4, 0, 5, 1, 1});
    check_values(run.result(rms_norm(run.graph, x, run.floats({2}, {1, 1}), 0)),
                 {kThree, kFour, 0, std::sqrt(2.0), 1, 1}, kRounding);
  });
}

TEST_CASE("rms_norm's epsilon is inside the root and keeps a row of zeros at zero") {
  on_each_backend([](OpRun& run) {
    // 1 / sqrt(1 + 3) = 1/2
    const Tensor x = run.floats({2, 2}, {1, -1, 0, 0});
    check_values(run.result(rms_norm(run.graph, x, run.floats({2}, {1, 1}), 3)), {0.5, -0.5, 0, 0},
                 kRounding);
  });
}

TEST_CASE("rms_norm of a compact tensor norms its rows") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({3, 2}, {3, 4, 9, 9, 4, 3});
    const Tensor picked = gather_rows(run.graph, x, run.rows(3, {0, 2}));
    check_values(run.result(rms_norm(run.graph, picked, run.floats({2}, {1, 1}), 0)),
                 {kThree, kFour, kFour, kThree}, kRounding);
  });
}

TEST_CASE("rms_norm leaves its input as it was where that is needed again") {
  on_each_backend([](OpRun& run) {
    const Tensor x = add(run.graph, run.floats({1, 2}, {1, 2}), run.floats({1, 2}, {2, 2}));
    const Tensor norm = rms_norm(run.graph, x, run.floats({2}, {1, 1}), 0);
    check_values(run.result(add(run.graph, x, norm)), {3 + kThree, 4 + kFour}, kRounding);
  });
}

TEST_CASE("rms_norm refuses what it cannot norm") {
  auto refused = [](std::string_view why, const Shape& x, Dtype x_type, const Shape& weight,
                    Dtype weight_type, float eps) {
    check_refused("rms_norm", why, [&](OpRun& run) {
      rms_norm(run.graph, run.leaf(x, x_type), run.leaf(weight, weight_type), eps);
    });
  };
  const Dtype f32 = Dtype::f32;
  refused("the innermost extent of the input", {2, 4}, f32, {3}, f32, 0);
  refused("the weight must have 1 extents", {2, 4}, f32, {1, 4}, f32, 0);
  refused("the weight must be f32", {2, 4}, f32, {4}, Dtype::f16, 0);
  refused("the input must be f32", {2, 4}, Dtype::bf16, {4}, f32, 0);
  refused("[T, E] or [T, H, D]", {4}, f32, {4}, f32, 0);
  refused("epsilon", {2, 4}, f32, {4}, f32, -1e-6f);
  refused("epsilon", {2, 4}, f32, {4}, f32, NAN);
}

}  // namespace
}  // namespace l2a::test
