// Runs an op on values that a test writes out, by the reference code and on the CPU backend alike.
#pragma once

#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>
#include <memory>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "backends/cpu/cpu_backend.h"
#include "graph/error.h"
#include "graph/plan.h"
#include "ops/quantize.h"
#include "ops/reference_backend.h"
#include "ops/route.h"
#include "tests/plan_values.h"
#include "tests/temporary_folder.h"

namespace l2a::test {

using Values = std::vector<double>;

// One small graph and its contents, on one backend.
class OpRun {
 public:
  explicit OpRun(std::shared_ptr<Backend> backend) : backend_(std::move(backend)) {}

  GraphBuilder graph;

  // A weight of f32, f16, bf16 or q8_0 with these values.
  Tensor weight(Dtype dtype, const Shape& shape, const std::vector<float>& values) {
    return graph.weight("weight", dtype, shape, filled(dtype, shape, values));
  }
  Tensor floats(const Shape& shape, const std::vector<float>& values) {
    return weight(Dtype::f32, shape, values);
  }
  Tensor state(Dtype dtype, const Shape& shape, const std::vector<float>& values) {
    auto buffer = filled(dtype, shape, values);
    const Tensor tensor = graph.state("state", dtype, shape, buffer);
    states_.push_back({tensor, dtype, shape, buffer});
    return tensor;
  }
  // An i32 state of zeros.
  Tensor counters(std::int64_t count) {
    auto buffer = backend_->allocate(static_cast<std::size_t>(count) * sizeof(std::int32_t));
    const Tensor tensor = graph.state("state", Dtype::i32, {count}, buffer);
    states_.push_back({tensor, Dtype::i32, {count}, buffer});
    return tensor;
  }
  Tensor indices(const std::vector<std::int32_t>& values) {
    const Tensor tensor =
        graph.input("indices", Dtype::i32, {static_cast<std::int64_t>(values.size())});
    indices_.push_back({tensor, values});
    return tensor;
  }
  // The Rows that hold `routed` of `tokens` tokens.
  Rows rows(std::int64_t tokens, const std::vector<std::int64_t>& routed) {
    std::vector<float> feature(static_cast<std::size_t>(tokens), -1.0f);
    for (const std::int64_t token : routed) feature[static_cast<std::size_t>(token)] = 1.0f;
    return route(graph, floats({tokens, 1}, feature), floats({1, 1}, {1}), {}, 0.0f);
  }
  // A leaf without contents, for graphs that are only built.
  Tensor leaf(const Shape& shape, Dtype dtype = Dtype::f32) {
    return graph.input("x", dtype, shape);
  }

  // Runs the graph once, on memory full of NaN, and gives the outputs: of a Rows its count and
  // indices, of a compact tensor the rows that exist.
  std::vector<Values> results(std::initializer_list<Tensor> outputs) {
    for (const Tensor output : outputs) {
      graph.output(output);
      if (graph.info(output).compact()) graph.output(graph.rows_of(output));
    }
    Plan plan(graph.build(), {backend_});
    plan.poison();
    for (const Indices& input : indices_)
      plan.write(input.tensor, std::span<const std::int32_t>(input.values));
    plan.run();
    std::vector<Values> all;
    for (const Tensor output : outputs) all.push_back(output_values(plan, output));
    return all;
  }
  Values result(Tensor output) { return results({output}).front(); }
  Values result(Rows output) { return result(Tensor{output.id}); }

  // What a state holds now: after a run, what the run left in it.
  Values contents(Tensor state) const {
    for (const State& entry : states_) {
      if (entry.tensor.id != state.id) continue;
      std::vector<std::byte> bytes(entry.buffer->bytes());
      entry.buffer->download(0, bytes);
      return decode_values(entry.dtype, bytes, entry.shape.elements());
    }
    throw Error("not a state of this run");
  }

 private:
  std::shared_ptr<Buffer> filled(Dtype dtype, const Shape& shape,
                                 const std::vector<float>& values) {
    if (static_cast<std::int64_t>(values.size()) != shape.elements()) {
      throw Error(concat(values.size(), " values for a tensor of shape ", shape));
    }
    std::vector<std::byte> bytes(dtype_bytes(dtype, shape.elements()));
    quantize_row(dtype, values, bytes);
    auto buffer = backend_->allocate(bytes.size());
    buffer->upload(0, bytes);
    return buffer;
  }

  struct Indices {
    Tensor tensor;
    std::vector<std::int32_t> values;
  };
  struct State {
    Tensor tensor;
    Dtype dtype;
    Shape shape;
    std::shared_ptr<Buffer> buffer;
  };
  std::shared_ptr<Backend> backend_;
  std::vector<Indices> indices_;
  std::vector<State> states_;
};

// Calls `test` with a fresh run on each backend.
template <class Test>
void on_each_backend(Test test) {
  for (const auto& backend : {make_reference_backend(), make_cpu_backend({2, std::nullopt})}) {
    CAPTURE(backend->name());
    OpRun run(backend);
    test(run);
  }
}

// NaN equals NaN, and infinity itself; anything else within `tolerance`, relative above 1.
inline void check_values(const Values& actual, const Values& expected, double tolerance = 0) {
  auto text = [](const Values& values) {
    std::ostringstream out;
    out.precision(9);
    for (const double value : values) out << value << " ";
    return out.str();
  };
  bool same = actual.size() == expected.size();
  for (std::size_t i = 0; same && i < actual.size(); ++i) {
    const double a = actual[i], e = expected[i];
    same = a == e || (std::isnan(a) && std::isnan(e)) ||
           std::fabs(a - e) <= tolerance * std::max(1.0, std::fabs(e));
  }
  CHECK_MESSAGE(same, "have ", text(actual), ", want ", text(expected));
}

// Float sums and products of a handful of terms.
inline constexpr double kRounding = 1e-6;

// Building the op must fail with a GraphError that names it, its inputs and the reason.
template <class Build>
void check_refused(std::string_view op, std::string_view why, Build build) {
  OpRun run(make_reference_backend());
  const std::string message = message_of<GraphError>([&] { build(run); });
  CHECK_MESSAGE(message.starts_with(concat(op, "(")), "'", message, "' does not name ", op);
  CHECK_MESSAGE(contains(message, why), "'", message, "' does not say: ", why);
}

}  // namespace l2a::test
