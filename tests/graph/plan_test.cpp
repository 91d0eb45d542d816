#include "graph/plan.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "graph/error.h"
#include "graph/op_times.h"
#include "ops/add.h"
#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "ops/reference_backend.h"
#include "ops/rms_norm.h"
#include "ops/silu_mul.h"
#include "tests/device_backend.h"

using namespace l2a;
using l2a::test::DeviceBackend;

namespace {

struct RandomGraph {
  std::shared_ptr<const Graph> graph;
  Tensor x, result;
};

// A random web of ops over one [T, E], with weights on `weights` and residuals that reach far back.
RandomGraph random_graph(unsigned seed, Backend& weights) {
  std::mt19937 random(seed);
  GraphBuilder graph;
  const std::int64_t width = 8;
  auto make_weight = [&](const Shape& shape) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) value = static_cast<float>(random() % 1000) / 1000 - 0.5f;
    auto buffer = weights.allocate(values.size() * sizeof(float));
    buffer->upload(0, std::as_bytes(std::span<const float>(values)));
    return graph.weight("w", Dtype::f32, shape, buffer);
  };
  std::vector<Tensor> made = {graph.input("x", Dtype::f32, {8, width})};
  for (int i = 0; i < 30; ++i) {
    auto pick = [&] { return made[random() % made.size()]; };
    switch (random() % 4) {
      case 0:
        made.push_back(add(graph, pick(), pick()));
        break;
      case 1:
        made.push_back(silu_mul(graph, pick(), pick()));
        break;
      case 2:
        made.push_back(matmul(graph, pick(), make_weight({width, width})));
        break;
      default:
        made.push_back(rms_norm(graph, pick(), make_weight({width}), 1e-5f));
        break;
    }
  }
  Tensor result = made.back();
  for (std::size_t i = 0; i < made.size(); i += 7) result = add(graph, result, made[i]);
  graph.output(result);
  const Tensor x = made.front();
  return {graph.build(), x, result};
}

std::vector<float> evaluate(Plan& plan, const RandomGraph& random) {
  std::vector<float> x(64), result(64);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3;
  plan.poison();
  plan.write(random.x, std::span<const float>(x));
  plan.run();
  plan.read(random.result, std::span<float>(result));
  return result;
}

// Runs each node by reference into memory of its own: no planner, no reuse, nothing in place.
std::vector<float> evaluate_apart(const RandomGraph& random) {
  const Graph& graph = *random.graph;
  std::vector<std::vector<float>> memory(graph.values().size());
  auto view = [&](ValueId id) {
    const Value& value = graph.value(id);
    if (id == kNoValue) return TensorView{};
    auto& own = memory[static_cast<std::size_t>(id)];
    if (own.empty()) {
      own.resize(static_cast<std::size_t>(value.info.shape.elements()));
      if (value.buffer) value.buffer->download(0, std::as_writable_bytes(std::span<float>(own)));
    }
    return TensorView{value.info.dtype, value.info.shape, value.info.strides,
                      reinterpret_cast<std::byte*>(own.data())};
  };
  TensorView x = view(random.x.id);
  for (int i = 0; i < 64; ++i) reinterpret_cast<float*>(x.data)[i] = static_cast<float>(i % 7) - 3;
  for (const Node& node : graph.nodes()) {
    std::vector<TensorView> inputs;
    for (const ValueId id : node.inputs) inputs.push_back(id == kNoValue ? TensorView{} : view(id));
    node.op->reference(inputs, view(node.output));
  }
  return memory[static_cast<std::size_t>(random.result.id)];
}

}  // namespace

TEST_CASE("reuse of memory and work in place change no result, on random graphs") {
  for (unsigned seed = 0; seed < 60; ++seed) {
    auto backend = make_reference_backend();
    const RandomGraph random = random_graph(seed, *backend);
    Plan plan(random.graph, {backend});
    CHECK(evaluate(plan, random) == evaluate_apart(random));
    CHECK(plan.arena_bytes() <= plan.arena_bytes_without_reuse());
  }
}

TEST_CASE("a run leaves its inputs as they were") {
  auto backend = make_reference_backend();
  const RandomGraph random = random_graph(3, *backend);
  Plan plan(random.graph, {backend});
  const std::vector<float> first = evaluate(plan, random);
  plan.run();
  std::vector<float> second(64);
  plan.read(random.result, std::span<float>(second));
  CHECK(first == second);
}

TEST_CASE("ops that a device lacks fall back, with copies both ways, and are named") {
  for (const std::string_view lacking : {"silu_mul", "rms_norm", "matmul", "none"}) {
    for (unsigned seed = 0; seed < 10; ++seed) {
      auto device = std::make_shared<DeviceBackend>(lacking);
      auto host = make_reference_backend();
      const RandomGraph random = random_graph(seed, *device);
      Plan plan(random.graph, {device, host});
      CHECK(evaluate(plan, random) == evaluate_apart(random));
      bool lacks = false;
      for (std::size_t i = 0; i < random.graph->nodes().size(); ++i) {
        if (random.graph->nodes()[i].op->name() != lacking) continue;
        lacks = true;
        CHECK(plan.schedule().node_backend[i] == 1);
      }
      const std::string note = "fell back: " + std::string(lacking);
      CHECK((plan.describe().find(note) != std::string::npos) == lacks);
    }
  }
}

TEST_CASE("a timed run computes what a run does, and says what each node and the copies took") {
  auto device = std::make_shared<DeviceBackend>("matmul");
  auto host = make_reference_backend();
  const RandomGraph random = random_graph(5, *device);
  Plan plan(random.graph, {device, host});
  const std::vector<float> untimed = evaluate(plan, random);
  plan.poison();
  std::vector<float> x(64), timed(64);
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i % 7) - 3;
  plan.write(random.x, std::span<const float>(x));
  PlanTimes times;
  plan.run(times);
  plan.read(random.result, std::span<float>(timed));
  CHECK(timed == untimed);
  REQUIRE(times.nodes.size() == random.graph->nodes().size());
  CHECK(*std::min_element(times.nodes.begin(), times.nodes.end()) > 0);
  CHECK(times.copies > 0);

  const PlanTimes first = times;
  plan.run(times);  // adds
  for (std::size_t i = 0; i < first.nodes.size(); ++i) CHECK(times.nodes[i] > first.nodes[i]);
  CHECK(times.copies > first.copies);

  OpTimes sums;
  add_times(sums, *random.graph, times, {});
  double seconds = 0;
  std::int64_t calls = 0;
  Cost cost;
  for (const auto& [name, sum] : sums) {
    seconds += sum.seconds;
    calls += sum.calls;
    cost += sum.cost;
  }
  const double all = std::accumulate(times.nodes.begin(), times.nodes.end(), 0.0) + times.copies;
  CHECK(seconds == doctest::Approx(all));
  CHECK(sums.at("copy").seconds == times.copies);
  CHECK(calls == static_cast<std::int64_t>(times.nodes.size()));
  CHECK(cost.operations == doctest::Approx(random.graph->cost({}).operations));
  CHECK(cost.bytes == doctest::Approx(random.graph->cost({}).bytes));
}

TEST_CASE("nodes run where their weights live") {
  auto device = std::make_shared<DeviceBackend>("none");
  auto host = make_reference_backend();
  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {1, 4});
  const Tensor on_host =
      matmul(graph, x, graph.weight("a", Dtype::f32, {4, 4}, host->allocate(64)));
  const Tensor on_device =
      matmul(graph, on_host, graph.weight("b", Dtype::f32, {4, 4}, device->allocate(64)));
  graph.output(on_device);
  Plan plan(graph.build(), {device, host});
  CHECK(plan.schedule().node_backend == std::vector<int>{1, 0});
  CHECK(plan.schedule().steps.size() == 3);
}

TEST_CASE("a node that changes a state stays with it or is refused") {
  auto device = std::make_shared<DeviceBackend>("kv_append");
  auto host = make_reference_backend();
  GraphBuilder graph;
  const Tensor cache = graph.state("cache", Dtype::f32, {4, 1, 2}, device->allocate(32));
  const Tensor x = graph.input("x", Dtype::f32, {1, 1, 2});
  kv_append(graph, cache, x, graph.input("positions", Dtype::i32, {1}), 0);
  const auto built = graph.build();
  CHECK_THROWS_WITH_AS((Plan(built, {device, host})),
                       "the device backend holds cache but does not support kv_append on it",
                       Error);
}

TEST_CASE("a plan describes and draws itself") {
  auto backend = make_reference_backend();
  GraphBuilder graph;
  const Tensor x = graph.input("tokens", Dtype::f32, {2, 4});
  const Tensor y = graph.name(add(graph, x, x), "doubled");
  graph.output(y);
  const Plan plan(graph.build(), {backend});
  CHECK(plan.describe().find("add              doubled f32 [2, 4] <- tokens tokens") !=
        std::string::npos);
  CHECK(plan.describe().find("arena of reference: 0.3 KiB") != std::string::npos);
  CHECK(plan.dot().find("\"add doubled [2, 4]\"") != std::string::npos);
}

TEST_CASE("inputs and outputs of another size, and values that are neither, are refused") {
  auto backend = make_reference_backend();
  GraphBuilder graph;
  const Tensor x = graph.input("x", Dtype::f32, {2, 4});
  const Tensor y = add(graph, x, x);
  const Tensor z = add(graph, y, x);
  graph.output(z);
  Plan plan(graph.build(), {backend});
  std::vector<float> short_row(7), right(8);
  CHECK_THROWS_AS(plan.write(x, std::span<const float>(short_row)), Error);
  CHECK_THROWS_AS(plan.write(y, std::span<const float>(right)), Error);
  CHECK_THROWS_AS(plan.read(z, std::span<float>(short_row)), Error);
  CHECK_THROWS_AS(plan.read(y, std::span<float>(right)), Error);
}
