// Every backend against the reference code, op by op: a case builds a small graph on whatever backend it is given,
// from a seeded source of random values, and the same case is run on both.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "graph/backend.h"
#include "graph/graph.h"

namespace l2a::test {

// What a backend's products of matrices, attention included, may differ by, of the largest result, by the type of the
// weights or caches. Plain float sums of up to a few thousand terms in another order: 1e-5. Tensor cores round the
// other operand to the same type first.
struct Tolerances {
  double f16 = 1e-5, bf16 = 1e-5;
  // Quantized weights may meet activations rounded to 8 bits, whose error of at most 1/254 a value averages out over
  // the row: 2e-2 for the shortest rows, where there is little to average.
  double quantized = 2e-2;
  // Attention over a cache of blocks, which may be read exactly.
  double cached_blocks = 1e-5;
  // Quantized weights and activations of which two in a row are 10 and 30 times as large as the others are at most:
  // what shares a scale with those is rounded 30 times as coarsely.
  double standing_out = 3e-2;
  // Attention over any cache but f32, where its products round queries and weights too, if that is more than the above.
  double rounded_attention = 0;

  double of(Dtype dtype) const {
    if (dtype_info(dtype).quantized) return quantized;
    return dtype == Dtype::f16 ? f16 : dtype == Dtype::bf16 ? bf16 : 1e-5;
  }
};

// Builds leaves with random contents. The same seed gives the same leaves on every backend.
class CaseBuilder {
 public:
  CaseBuilder(std::shared_ptr<Backend> backend, unsigned seed, const Tolerances& t)
      : tolerances(t), backend_(std::move(backend)), random_(seed) {}

  const Tolerances tolerances;

  GraphBuilder graph;

  float uniform(float low = -1, float high = 1);
  Tensor weight(Dtype dtype, const Shape& shape, float scale = 1);
  Tensor floats(std::span<const float> values, const Shape& shape);  // a weight with these values
  // With random contents; compared after the run, to the rounding of its dtype or `tolerance`, if that is more.
  Tensor state(Dtype dtype, const Shape& shape, double tolerance = 0);
  Tensor input(const Shape& shape, float scale = 1);
  Tensor indices(const std::vector<std::int32_t>& values);
  // Rows that route about `share` of `tokens` tokens, at random; 0 and 1 route none and all.
  Rows rows(std::int64_t tokens, double share);
  // Marks a result to be compared, within `tolerance` of the largest value of the reference.
  void compare(Tensor result, double tolerance);
  void compare(Rows rows) { compare(Tensor{rows.id}, 0); }

  // Everything that is compared, after two runs on poisoned memory: the second shows what a run leaves behind.
  struct Result {
    std::string name;
    Dtype dtype;
    std::vector<double> values;  // of a Rows or a compact tensor only those that exist
    double tolerance;
  };
  std::vector<Result> run();

 private:
  std::shared_ptr<Buffer> random_buffer(Dtype dtype, const Shape& shape, float scale);

  struct Input {
    Tensor tensor;
    std::vector<std::byte> bytes;
  };
  struct State {
    Tensor tensor;
    std::shared_ptr<Buffer> buffer;
    double tolerance;
  };
  std::shared_ptr<Backend> backend_;
  std::mt19937 random_;
  std::vector<Input> inputs_;
  std::vector<State> states_;
  std::vector<std::pair<Tensor, double>> compared_;
};

struct ConformanceCase {
  std::string name;
  std::function<void(CaseBuilder&)> build;
  // Longer than a limit of some device, and on a CPU only more of what other cases have: not run under sanitizers.
  bool large = false;
};

// All cases: every op, every dtype, odd sizes, views, no and all rows routed, windows below and above the context.
const std::vector<ConformanceCase>& conformance_cases();

// A backend to hold against the reference, and what it may differ by.
struct ConformanceSubject {
  std::string name;
  std::shared_ptr<Backend> backend;
  Tolerances tolerances = {};
};

// The CPU backend at every level that this machine has, with two threads.
std::vector<ConformanceSubject> cpu_subjects(const Tolerances& tolerances = {});

// Checks those of the cases whose names hold `among` on every subject; the reference, which is most of the time, computes
// each once. The environment's L2A_CONFORMANCE_CASES picks some of them likewise, as for a sanitizer that is slow.
void check_conformance(std::span<const ConformanceCase> cases,
                       std::span<const ConformanceSubject> subjects, std::string_view among = "");

}  // namespace l2a::test
