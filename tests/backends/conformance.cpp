#include "tests/backends/conformance.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "backends/cpu/cpu_backend.h"
#include "graph/error.h"
#include "graph/half.h"
#include "graph/plan.h"
#include "ops/blocks.h"
#include "ops/quantize.h"
#include "ops/reference_backend.h"
#include "ops/route.h"
#include "tests/plan_values.h"
#include "tests/sanitizers.h"

namespace l2a::test {

float CaseBuilder::uniform(float low, float high) {
  return low + (high - low) * static_cast<float>(random_() >> 8) * 0x1p-24f;
}

std::shared_ptr<Buffer> CaseBuilder::random_buffer(Dtype dtype, const Shape& shape, float scale) {
  std::vector<std::byte> bytes(dtype_bytes(dtype, shape.elements()));
  if (!dtype_info(dtype).quantized) {
    std::vector<float> values(static_cast<std::size_t>(shape.elements()));
    for (float& value : values) value = uniform(-scale, scale);
    quantize_row(dtype, values, bytes);
  } else {
    // Random bits are valid blocks once the f16 scales are sensible numbers.
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random_());
    const auto block = static_cast<std::size_t>(dtype_info(dtype).block_bytes);
    const bool second = dtype == Dtype::q4_1 || dtype == Dtype::q5_1 || dtype == Dtype::q4_k ||
                        dtype == Dtype::q5_k;
    for (std::size_t at = 0; at < bytes.size(); at += block) {
      auto set = [&](std::size_t offset, float value) {
        const std::uint16_t half = float_to_f16(value);
        bytes[at + offset] = static_cast<std::byte>(half & 0xff);
        bytes[at + offset + 1] = static_cast<std::byte>(half >> 8);
      };
      const float d = uniform(0.001f, 0.01f) * scale;
      set(dtype == Dtype::q6_k ? sizeof(BlockQ6K) - 2 : 0, d);
      if (second) set(2, uniform(-0.05f, 0.05f) * scale);
    }
  }
  auto buffer = backend_->allocate(bytes.size());
  buffer->upload(0, bytes);
  return buffer;
}

Tensor CaseBuilder::weight(Dtype dtype, const Shape& shape, float scale) {
  return graph.weight("weight", dtype, shape, random_buffer(dtype, shape, scale));
}

Tensor CaseBuilder::floats(std::span<const float> values, const Shape& shape) {
  auto buffer = backend_->allocate(values.size_bytes());
  buffer->upload(0, std::as_bytes(values));
  return graph.weight("floats", Dtype::f32, shape, buffer);
}

Tensor CaseBuilder::state(Dtype dtype, const Shape& shape, double tolerance) {
  auto buffer = dtype == Dtype::i32 ? backend_->allocate(dtype_bytes(dtype, shape.elements()))
                                    : random_buffer(dtype, shape, 1);
  const Tensor tensor = graph.state("state", dtype, shape, buffer);
  states_.push_back({tensor, buffer, tolerance});
  return tensor;
}

Tensor CaseBuilder::input(const Shape& shape, float scale) {
  std::vector<float> values(static_cast<std::size_t>(shape.elements()));
  for (float& value : values) value = uniform(-scale, scale);
  const Tensor tensor = graph.input("input", Dtype::f32, shape);
  const auto bytes = std::as_bytes(std::span<const float>(values));
  inputs_.push_back({tensor, {bytes.begin(), bytes.end()}});
  return tensor;
}

Tensor CaseBuilder::indices(const std::vector<std::int32_t>& values) {
  const Tensor tensor =
      graph.input("indices", Dtype::i32, {static_cast<std::int64_t>(values.size())});
  const auto bytes = std::as_bytes(std::span<const std::int32_t>(values));
  inputs_.push_back({tensor, {bytes.begin(), bytes.end()}});
  return tensor;
}

Rows CaseBuilder::rows(std::int64_t tokens, double share) {
  // A router on one feature that is far from the cut, so that rounding cannot decide.
  std::vector<float> features(static_cast<std::size_t>(tokens));
  for (float& feature : features)
    feature = uniform(0, 1) < static_cast<float>(share) ? 1.0f : -1.0f;
  const Tensor x = floats(features, {tokens, 1});
  const std::vector<float> one = {1.0f};
  return route(graph, x, floats(one, {1, 1}), {}, 0.0f);
}

void CaseBuilder::compare(Tensor result, double tolerance) {
  graph.output(result);
  compared_.emplace_back(result, tolerance);
}

std::vector<CaseBuilder::Result> CaseBuilder::run() {
  // A compact result needs its Rows beside it, to say how much of it exists.
  for (std::size_t i = 0; i < compared_.size(); ++i) {
    if (graph.info(compared_[i].first).compact()) graph.output(graph.rows_of(compared_[i].first));
  }
  Plan plan(graph.build(), {backend_});
  for (int repeat = 0; repeat < 2; ++repeat) {
    plan.poison();
    for (const Input& input : inputs_)
      plan.write(input.tensor, std::span<const std::byte>(input.bytes));
    plan.run();
  }
  std::vector<Result> results;
  for (const auto& [tensor, tolerance] : compared_) {
    const Value& value = plan.graph().value(tensor.id);
    results.push_back({value.name, value.info.dtype, output_values(plan, tensor), tolerance});
  }
  for (const State& state : states_) {
    const ValueInfo& info = plan.graph().value(state.tensor.id).info;
    std::vector<std::byte> bytes(state.buffer->bytes());
    state.buffer->download(0, bytes);
    // Stored values may round to the other side: one unit in the last place of the cache's dtype.
    const bool coarse = info.dtype == Dtype::bf16 || info.dtype == Dtype::q8_0;
    const double tolerance = coarse ? 8e-3 : info.dtype == Dtype::f16 ? 1e-3 : 1e-5;
    results.push_back({"state", info.dtype, decode_values(info.dtype, bytes, info.shape.elements()),
                       info.dtype == Dtype::i32 ? 0.0 : std::max(tolerance, state.tolerance)});
  }
  return results;
}

namespace {

std::string difference(const std::vector<CaseBuilder::Result>& expected,
                       const std::vector<CaseBuilder::Result>& actual) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const auto &want = expected[i].values, &have = actual[i].values;
    if (want.size() != have.size()) {
      return concat(actual[i].name, ": ", have.size(), " values instead of ", want.size());
    }
    double largest = 0;
    for (const double value : want) largest = std::max(largest, std::fabs(value));
    for (std::size_t k = 0; k < want.size(); ++k) {
      const bool both_nan = std::isnan(want[k]) && std::isnan(have[k]);
      if (both_nan || std::fabs(want[k] - have[k]) <= actual[i].tolerance * largest) continue;
      return concat(actual[i].name, "[", k, "] is ", have[k], " instead of ", want[k], " (largest ",
                    largest, ")");
    }
  }
  return "";
}

}  // namespace

std::vector<ConformanceSubject> cpu_subjects(const Tolerances& tolerances) {
  std::vector<ConformanceSubject> subjects;
  for (const SimdLevel level : simd_levels()) {
    subjects.push_back(
        {std::string(simd_level_name(level)), make_cpu_backend({2, level}), tolerances});
    // Queries, keys, weights and values are sums of two bf16, each within 2^-17, and queries and keys count for the score,
    // of a few units here, that is the exponent of a weight.
    if (level == SimdLevel::amx) subjects.back().tolerances.rounded_attention = 5e-5;
  }
  return subjects;
}

void check_conformance(std::span<const ConformanceCase> cases,
                       std::span<const ConformanceSubject> subjects, std::string_view among) {
  constexpr unsigned kSeed = 20260317;
  const auto results = [](const ConformanceCase& one, const std::shared_ptr<Backend>& backend,
                          const Tolerances& tolerances) {
    CaseBuilder builder(backend, kSeed, tolerances);
    one.build(builder);
    return builder.run();
  };
  const char* only = std::getenv("L2A_CONFORMANCE_CASES");
  std::size_t checked = 0;
  for (const ConformanceCase& one : cases) {
    if (one.large && kSlow) continue;
    if (one.name.find(among) == std::string::npos) continue;
    if (only != nullptr && one.name.find(only) == std::string::npos) continue;
    ++checked;
    const auto expected = results(one, make_reference_backend(), {});
    for (const ConformanceSubject& subject : subjects) {
      const std::string differs =
          difference(expected, results(one, subject.backend, subject.tolerances));
      CHECK_MESSAGE(differs.empty(), subject.name, ": ", one.name, ": ", differs);
    }
  }
  if (among.empty()) REQUIRE(checked > 0);  // a name that no case has would pass
}

}  // namespace l2a::test
