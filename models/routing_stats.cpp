#include "models/routing_stats.h"

#include <algorithm>

namespace l2a {

double RoutingStats::share() const {
  std::int64_t sum = 0, layers = 0;
  for (const std::int64_t count : routed) {
    if (count < 0) continue;
    sum += count;
    ++layers;
  }
  return layers * tokens == 0 ? 0 : static_cast<double>(sum) / static_cast<double>(layers * tokens);
}

bool RoutingStats::has_router() const {
  return std::any_of(routed.begin(), routed.end(), [](std::int64_t count) { return count >= 0; });
}

RoutingStats& RoutingStats::operator+=(const RoutingStats& other) {
  if (routed.empty()) return *this = other;
  tokens += other.tokens;
  for (std::size_t i = 0; i < routed.size(); ++i) {
    if (routed[i] >= 0) routed[i] += other.routed[i];
  }
  return *this;
}

RoutingStats RoutingStats::between(const RoutingStats& earlier, RoutingStats later) {
  later.tokens -= earlier.tokens;
  for (std::size_t i = 0; i < earlier.routed.size(); ++i) {
    if (later.routed[i] >= 0) later.routed[i] -= earlier.routed[i];
  }
  return later;
}

}  // namespace l2a
