// How many tokens the routers of a model picked.
#pragma once

#include <cstdint>
#include <vector>

namespace l2a {

struct RoutingStats {
  std::int64_t tokens = 0;           // that went through the model
  std::vector<std::int64_t> routed;  // of those, by layer; -1 for a layer without a router
  double share() const;              // over all layers with a router; 0 without one
  bool has_router() const;           // in any layer
  // Adds another run of the same model.
  RoutingStats& operator+=(const RoutingStats& other);
  // What an earlier count of the same run, empty or not, does not have of a later one.
  static RoutingStats between(const RoutingStats& earlier, RoutingStats later);
};

}  // namespace l2a
