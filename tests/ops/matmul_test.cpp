#include "ops/matmul.h"

#include <doctest/doctest.h>

#include "ops/gather_rows.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

const std::vector<float> kX = {1, 2, 3, 4, 5, 6, 7, 8, 9};  // three tokens
const std::vector<float> kWeight = {1, 0, -1, 2, 1, 0.5f};  // two outputs
const Values kProduct = {1 - 3, 2 + 2 + 1.5, 4 - 6, 8 + 5 + 3, 7 - 9, 14 + 8 + 4.5};

TEST_CASE("matmul multiplies by the rows of the weight, whatever floating dtype holds them") {
  for (const Dtype dtype : {Dtype::f32, Dtype::f16, Dtype::bf16}) {
    CAPTURE(dtype_name(dtype));
    on_each_backend([&](OpRun& run) {
      const Tensor x = run.floats({3, 3}, kX), w = run.weight(dtype, {2, 3}, kWeight);
      check_values(run.result(matmul(run.graph, x, w)), kProduct);
    });
  }
}

TEST_CASE("matmul of a quantized weight is the product of what its blocks hold") {
  // Whole numbers with a largest of 127 are exact in 8 bits on both sides.
  std::vector<float> x(64, 0.0f), w(32, 0.0f);
  x[0] = 127, x[1] = 1, x[31] = 2;  // 127*1 + 1*127 + 2*-3 = 248
  x[32] = -1, x[33] = 127;          // -1*1 + 127*127 = 16128
  w[0] = 1, w[1] = 127, w[31] = -3;
  on_each_backend([&](OpRun& run) {
    const Tensor product =
        matmul(run.graph, run.floats({2, 32}, x), run.weight(Dtype::q8_0, {1, 32}, w));
    check_values(run.result(product), {248, 16128}, kRounding);
  });
}

TEST_CASE("matmul of a compact tensor computes its rows and stays compact") {
  on_each_backend([](OpRun& run) {
    const Tensor x = gather_rows(run.graph, run.floats({3, 3}, kX), run.rows(3, {0, 2}));
    const Tensor y = matmul(run.graph, x, run.floats({2, 3}, kWeight));
    CHECK(run.graph.info(y).rows == run.graph.info(x).rows);
    check_values(run.result(y), {kProduct[0], kProduct[1], kProduct[4], kProduct[5]});
  });
}

TEST_CASE("matmul of a compact tensor costs what its rows do, and its weight where there is one") {
  for (const std::int64_t tokens : {1, 4}) {
    OpRun run(make_reference_backend());
    const Tensor x = run.graph.input("x", Dtype::f32, {tokens, 3});
    const Rows rows = route(run.graph, x, run.floats({1, 3}, {1, 1, 1}), {}, 0);
    run.graph.output(matmul(run.graph, gather_rows(run.graph, x, rows),
                            run.floats({2, 3}, std::vector(6, 1.0f))));
    const auto graph = run.graph.build();
    const Node& node = graph->nodes().back();
    const Cost cost = node.op->cost(graph->input_infos(node), graph->output_info(node), {0, 0.25});
    const double t = static_cast<double>(tokens);
    CHECK(cost.operations == doctest::Approx(0.25 * t * 2 * 3 * 2));
    const double weight = (1 - std::pow(0.75, t)) * 6 * 4;
    const double rows_list = (1 + t) * 4;
    CHECK(cost.bytes == doctest::Approx(weight + 0.25 * t * (3 + 2) * 4 + rows_list));
  }
}

TEST_CASE("matmul keeps infinity and NaN in their own token's row") {
  on_each_backend([](OpRun& run) {
    const Tensor x = run.floats({3, 2}, {INFINITY, 1, NAN, 1, 1, 1});
    check_values(run.result(matmul(run.graph, x, run.floats({1, 2}, {2, 3}))), {INFINITY, NAN, 5});
  });
}

TEST_CASE("matmul refuses sides that do not fit") {
  check_refused("matmul", "the inner extents 3 and 4 differ", [](OpRun& run) {
    matmul(run.graph, run.leaf({2, 3}), run.leaf({5, 4}));
  });
  check_refused("matmul", "the left side must be f32", [](OpRun& run) {
    matmul(run.graph, run.leaf({2, 3}, Dtype::f16), run.leaf({5, 3}));
  });
  check_refused("matmul", "the left side must have 2 extents", [](OpRun& run) {
    matmul(run.graph, run.leaf({2, 3, 3}), run.leaf({5, 3}));
  });
  check_refused("matmul", "the weight must have 2 extents", [](OpRun& run) {
    matmul(run.graph, run.leaf({2, 3}), run.leaf({3}));
  });
  check_refused("matmul", "floating-point or quantized", [](OpRun& run) {
    matmul(run.graph, run.leaf({2, 3}), run.leaf({5, 3}, Dtype::i32));
  });
  check_refused("matmul", "the weight cannot be compact", [](OpRun& run) {
    const Tensor w = gather_rows(run.graph, run.leaf({5, 3}), run.rows(5, {1}));
    matmul(run.graph, run.leaf({2, 3}), w);
  });
  check_refused("matmul", "a compact tensor goes with its own Rows", [](OpRun& run) {
    const Tensor x = gather_rows(run.graph, run.leaf({5, 3}), run.rows(5, {1}));
    run.graph.add(std::make_shared<Matmul>(), {x, run.leaf({2, 3}), Tensor{}});
  });
}

}  // namespace
}  // namespace l2a::test
