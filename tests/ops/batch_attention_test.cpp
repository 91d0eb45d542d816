// That a batch computes what its sequences compute alone is for tests/models/sequence_pool_test.cpp, which knows whole models.
#include "ops/batch_attention.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "ops/kv_append.h"
#include "ops/matmul.h"
#include "tests/ops/op_fixture.h"

namespace l2a::test {
namespace {

constexpr std::int64_t kWidth = 8, kDim = 4, kTokens = 3;

struct Built {
  BatchBlock block;
  BatchInputs inputs;
  Tensor x;
};

Built batch_of(OpRun& run) {
  Built built;
  built.x = run.leaf({kTokens, kWidth});
  built.block.weights.q = run.leaf({2 * kDim, kWidth});
  built.block.weights.k = built.block.weights.v = run.leaf({kDim, kWidth});
  built.block.weights.output = run.leaf({kWidth, 2 * kDim});
  built.block.heads = {2, 1, kDim, 1e-6f, RopePairing::half};
  BatchCache& cache = built.block.cache;
  const std::vector<float> zeros(5 * 16 * kDim);
  cache.keys = run.state(Dtype::f32, {5 * 16, 1, kDim}, zeros);
  cache.values = run.state(Dtype::f32, {5 * 16, 1, kDim}, zeros);
  cache.stride = 16;
  cache.capacity = 12;
  cache.places = run.leaf({kTokens}, Dtype::i32);
  built.inputs.tokens.positions = run.leaf({kTokens}, Dtype::i32);
  built.inputs.tokens.rope_table = run.leaf({kTokens, kDim / 2, 2});
  built.inputs.sequences = {0, 2, 4};
  return built;
}

std::int64_t count_of(const Graph& graph, std::string_view op) {
  return std::ranges::count_if(graph.nodes(), [&](const Node& n) { return n.op->name() == op; });
}

TEST_CASE("tokens of a batch share every product and append, and attend each for itself") {
  OpRun run(make_reference_backend());
  const Built built = batch_of(run);
  const Tensor y = batch_self_attention(run.graph, built.x, built.block, built.inputs, {});
  CHECK(run.graph.shape(y) == Shape{kTokens, kWidth});
  const Graph& graph = run.graph.graph();
  CHECK(count_of(graph, Matmul::kName) == 4);
  CHECK(count_of(graph, KvAppend::kName) == 2);
  CHECK(count_of(graph, Attention::kName) == kTokens);
  // Each over the slots of its own sequence.
  std::size_t t = 0;
  for (const Node& node : graph.nodes()) {
    if (node.op->name() != Attention::kName) continue;
    const ValueId keys = node.inputs[Attention::kKeys];
    CHECK(graph.value(keys).info.shape == Shape{12, 1, kDim});
    CHECK(graph.root_offset(keys) ==
          static_cast<std::size_t>(built.inputs.sequences[t++] * 16 * kDim) * sizeof(float));
  }
}

TEST_CASE("in mode add the keys are shared, and all of a query is bounded by its token's Rows") {
  OpRun run(make_reference_backend());
  const Built built = batch_of(run);
  const L2aRouter router{run.leaf({1, kWidth}), {}, {}};
  const BatchL2aResult result =
      batch_l2a_attention(run.graph, built.x, built.x, built.block, router, built.inputs, {});
  REQUIRE(result.rows.size() == kTokens);
  CHECK(run.graph.shape(result.x) == Shape{kTokens, kWidth});
  const Graph& graph = run.graph.graph();
  CHECK(count_of(graph, KvAppend::kName) == 2);
  std::int64_t shared = 0, bounded = 0;
  for (const Node& node : graph.nodes()) {
    if (node.op->name() != Matmul::kName) continue;
    (graph.value(node.output).info.compact() ? bounded : shared)++;
  }
  CHECK(shared == 2);
  CHECK(bounded == 2 * kTokens);
}

TEST_CASE("batch_l2a_attention refuses a ring, and widening without a window") {
  const auto message = [](const L2aOptions& options, bool ring) {
    OpRun run(make_reference_backend());
    Built built = batch_of(run);
    built.block.cache.ring = ring;
    return message_of<GraphError>([&] {
      batch_l2a_attention(run.graph, built.x, built.x, built.block, {run.leaf({1, kWidth}), {}, {}},
                          built.inputs, options);
    });
  };
  CHECK(contains(message({}, true), "batch_l2a_attention: routed tokens read every key"));
  CHECK(contains(message({L2aMode::widen, 0, 0, 0}, false),
                 "batch_l2a_attention: widening needs a window"));
}

}  // namespace
}  // namespace l2a::test
