#include "ops/top_k.h"

#include <doctest/doctest.h>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

TEST_CASE("top_k gives the largest in order, the first of equals first, with their places") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({2, 5}, {1, 5, 2, 5, 3,  //
                                         -1, -4, -0.0f, 0, -1});
    check_values(run.result(top_k(run.graph, x, 3)), {5, 1, 5, 3, 3, 4,  //
                                                      0, 2, 0, 3, -1, 0});
  });
}

TEST_CASE("top_k gives all values where as many are asked for, infinities among them") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({1, 4}, {-INFINITY, 2, INFINITY, -3});
    check_values(run.result(top_k(run.graph, x, 4)), {INFINITY, 2, 2, 1, -3, 3, -INFINITY, 0});
  });
}

TEST_CASE("top_k puts NaN before everything, where it cannot be missed") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({1, 4}, {7, NAN, INFINITY, NAN});
    const Values best = run.result(top_k(run.graph, x, 3));
    REQUIRE(best.size() == 6);
    CHECK(std::isnan(best[0]));
    CHECK(best[1] == 1);
    CHECK(std::isnan(best[2]));
    CHECK(best[3] == 3);
    CHECK(best[4] == INFINITY);
  });
}

TEST_CASE("top_k refuses what is not full rows of f32, and counts that rows do not have") {
  check_refused("top_k", "the input must be f32", [](OpRun& run) {
    top_k(run.graph, run.leaf({2, 3}, Dtype::f16), 1);
  });
  check_refused("top_k", "the input must have 2 extents",
                [](OpRun& run) { top_k(run.graph, run.leaf({3}), 1); });
  check_refused("top_k", "the input must be full", [](OpRun& run) {
    top_k(run.graph, gather_rows(run.graph, run.leaf({2, 3}), run.rows(2, {1})), 1);
  });
  for (const std::int64_t k : {0, 4}) {
    check_refused("top_k", "k is from 1 to the length of a row", [=](OpRun& run) {
      top_k(run.graph, run.leaf({2, 3}), k);
    });
  }
}

}  // namespace
}  // namespace l2a::test
