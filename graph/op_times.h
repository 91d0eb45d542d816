// Where the time of a graph goes, by kind of op.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "graph/graph.h"
#include "graph/plan.h"

namespace l2a {

struct OpTime {
  std::int64_t calls = 0;
  double seconds = 0;
  Cost cost;  // of all calls
};

// By the op's name. "copy" stands for copies between backends, of which no calls are counted.
using OpTimes = std::map<std::string, OpTime, std::less<>>;

// Adds the times of one run of a graph, whose cost the hints say.
void add_times(OpTimes& sums, const Graph& graph, const PlanTimes& run, const CostHints& hints);

}  // namespace l2a
