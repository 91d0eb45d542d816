#include "graph/graph.h"

#include <doctest/doctest.h>

#include "graph/error.h"
#include "graph/plan.h"
#include "ops/add.h"
#include "ops/gather_rows.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/reference_backend.h"
#include "ops/rms_norm.h"
#include "ops/route.h"
#include "ops/scatter_add_rows.h"
#include "ops/silu_mul.h"

using namespace l2a;

namespace {

Tensor zero_weight(GraphBuilder& graph, Backend& backend, const char* name, const Shape& shape) {
  return graph.weight(name, Dtype::f32, shape,
                      backend.allocate(dtype_bytes(Dtype::f32, shape.elements())));
}

std::string message_of(auto&& action) {
  try {
    action();
  } catch (const GraphError& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace

TEST_CASE("an error names the op, its inputs and their shapes") {
  auto backend = make_reference_backend();
  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {3, 64});
  const Tensor w = zero_weight(graph, *backend, "wq", {128, 32});
  const std::string message = message_of([&] { matmul(graph, x, w); });
  CHECK(message ==
        "matmul(x: f32 [3, 64], wq: f32 [128, 32], -): the inner extents 64 and 32 differ");
}

TEST_CASE("a compact tensor cannot be mixed with a full one or with one of other Rows") {
  auto backend = make_reference_backend();
  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {5, 8});
  const Tensor router = zero_weight(graph, *backend, "router", {1, 8});
  const Rows first = route(graph, x, router, {}, 0);
  const Rows second = route(graph, x, router, {}, 0);
  const Tensor a = gather_rows(graph, x, first), b = gather_rows(graph, x, second);
  CHECK_THROWS_AS(add(graph, a, x), GraphError);
  CHECK_THROWS_AS(add(graph, x, a), GraphError);
  CHECK_THROWS_AS(add(graph, a, b), GraphError);
  CHECK_THROWS_AS(silu_mul(graph, a, a), GraphError);
  CHECK_THROWS_AS(gather_rows(graph, a, first), GraphError);
  CHECK_THROWS_AS(scatter_add_rows(graph, x, x), GraphError);
  CHECK_THROWS_AS(scatter_add_rows(graph, a, a), GraphError);
  CHECK_THROWS_AS(graph.slice(a, 0, 1), GraphError);
  CHECK_THROWS_AS(graph.reshape(a, {8, 5}), GraphError);
  CHECK_NOTHROW(scatter_add_rows(graph, x, a));
}

TEST_CASE("compactness goes through a matmul and a norm") {
  auto backend = make_reference_backend();
  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {5, 8});
  const Rows rows = route(graph, x, zero_weight(graph, *backend, "router", {1, 8}), {}, 0);
  const Tensor y =
      matmul(graph, gather_rows(graph, x, rows), zero_weight(graph, *backend, "w", {4, 8}));
  CHECK(graph.info(y).rows == rows.id);
  const Tensor z =
      rms_norm(graph, graph.reshape(y, {5, 2, 2}), zero_weight(graph, *backend, "n", {2}), 1e-6f);
  CHECK(graph.info(z).rows == rows.id);
}

TEST_CASE("shapes that cannot be are refused") {
  CHECK_THROWS_AS(Shape({0, 3}), GraphError);
  CHECK_THROWS_AS(Shape({-1}), GraphError);
  CHECK_THROWS_AS(Shape({1, 2, 3, 4, 5}), GraphError);
  CHECK_THROWS_AS(Shape({INT64_MAX, 2}), GraphError);
  CHECK(Shape({2, 3}).to_string() == "[2, 3]");
}

TEST_CASE("a weight must fit its buffer") {
  auto backend = make_reference_backend();
  GraphBuilder graph;
  auto buffer = backend->allocate(64);
  CHECK_NOTHROW(graph.weight("w", Dtype::f32, {16}, buffer));
  CHECK_THROWS_AS(graph.weight("w", Dtype::f32, {17}, buffer), GraphError);
  CHECK_THROWS_AS(graph.weight("w", Dtype::f32, {16}, buffer, 4), GraphError);
  CHECK_THROWS_AS(graph.weight("w", Dtype::f32, {1}, buffer, 65), GraphError);
  CHECK_THROWS_AS(graph.weight("w", Dtype::f32, {1}, nullptr), GraphError);
}

TEST_CASE("only a state can be changed") {
  auto backend = make_reference_backend();
  GraphBuilder graph;
  const Tensor weight = zero_weight(graph, *backend, "w", {4, 1, 2});
  const Tensor x = graph.input("x", Dtype::f32, {1, 1, 2});
  const Tensor positions = graph.input("positions", Dtype::i32, {1});
  CHECK_THROWS_AS(kv_append(graph, weight, x, positions, 0), GraphError);
}

TEST_CASE("nodes that nothing depends on are not part of the graph") {
  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {2, 4});
  const Tensor used = add(graph, x, x);
  add(graph, used, x);
  graph.output(used);
  CHECK(graph.build()->nodes().size() == 1);
}

TEST_CASE("views share memory and land where they should") {
  auto backend = make_reference_backend();
  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {3, 4});
  const Tensor sum = add(graph, x, x);
  const Tensor last = graph.slice(sum, 2, 3);
  graph.output(last);
  Plan plan(graph.build(), {backend});
  std::vector<float> values(12);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  plan.write(x, std::span<const float>(values));
  plan.run();
  std::vector<float> row(4);
  plan.read(last, std::span<float>(row));
  CHECK(row == std::vector<float>{16, 18, 20, 22});
}
