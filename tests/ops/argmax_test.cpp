#include "ops/argmax.h"

#include <doctest/doctest.h>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

TEST_CASE("argmax gives each row's largest, and of equals the first") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({4, 4}, {1, 5, 2, 3,      //
                                         -1, -2, -1, -3,  //
                                         0, -0.0f, 0, 0,  //
                                         1, 2, 3, 3});
    check_values(run.result(argmax(run.graph, x)), {1, 0, 0, 2});
  });
}

TEST_CASE("argmax finds the first of equals anywhere in a long row") {
  // Longer than any vector width, with the two largest far apart.
  std::vector<float> x(1000, -1.0f);
  x[123] = x[124] = x[999] = 7;
  on_each_backend([&](OpRun& run) {
    check_values(run.result(argmax(run.graph, run.floats({1, 1000}, x))), {123});
  });
}

TEST_CASE("argmax takes infinity as a number and never NaN") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({4, 3}, {NAN, -INFINITY, NAN,              //
                                         1, NAN, INFINITY,                 //
                                         -INFINITY, -INFINITY, -INFINITY,  //
                                         NAN, 1, 2});
    check_values(run.result(argmax(run.graph, x)), {1, 2, 0, 2});
  });
}

TEST_CASE("argmax refuses what is not full rows of f32") {
  check_refused("argmax", "the input must be f32", [](OpRun& run) {
    argmax(run.graph, run.leaf({2, 3}, Dtype::f16));
  });
  check_refused("argmax", "the input must have 2 extents",
                [](OpRun& run) { argmax(run.graph, run.leaf({3})); });
  check_refused("argmax", "the input must be full", [](OpRun& run) {
    argmax(run.graph, gather_rows(run.graph, run.leaf({2, 3}), run.rows(2, {1})));
  });
}

}  // namespace
}  // namespace l2a::test
