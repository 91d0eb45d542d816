// The k largest values of each row: a heap of the best so far, the worst of them on top, so that one comparison refuses
// nearly every value.
#include "ops/top_k.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "backends/cpu/kernels/kernels.h"

namespace l2a::cpu {
namespace {

struct Candidate {
  float value;
  std::int64_t index;
};

// Whether a comes before b.
bool before(const Candidate& a, const Candidate& b) {
  if (std::isnan(a.value) != std::isnan(b.value)) return std::isnan(a.value);
  return std::isnan(a.value) || a.value == b.value ? a.index < b.index : a.value > b.value;
}

void run(const CpuCall& call) {
  const TensorView& x = call.inputs[TopK::kX];
  const auto k = static_cast<std::size_t>(call.attributes<TopK>().k);
  std::vector<Candidate> best;
  best.reserve(k);
  for (std::int64_t t = 0; t < x.shape[0]; ++t) {
    const float* row = x.row<const float>(t);
    best.clear();
    for (std::int64_t i = 0; i < x.shape[1]; ++i) {
      const Candidate candidate{row[i], i};
      if (best.size() == k) {
        // Nothing that is smaller than the worst; NaN is not.
        if (candidate.value < best.front().value || !before(candidate, best.front())) continue;
        std::pop_heap(best.begin(), best.end(), before);
        best.pop_back();
      }
      best.push_back(candidate);
      std::push_heap(best.begin(), best.end(), before);
    }
    std::sort_heap(best.begin(), best.end(), before);
    float* to = call.output.row<float>(t);
    for (const Candidate& candidate : best) {
      *to++ = candidate.value;
      *to++ = static_cast<float>(candidate.index);
    }
  }
}

}  // namespace

const CpuKernel kTopK = {TopK::kName, run};

}  // namespace l2a::cpu
