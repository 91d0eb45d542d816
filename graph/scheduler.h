// Decides which backend runs each node, and where tensors must be copied between backends.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "graph/backend.h"
#include "graph/graph.h"

namespace l2a {

struct ScheduleStep {
  enum class Kind : std::uint8_t { run, copy };
  Kind kind = Kind::run;
  int backend = 0;            // runs here, or copies to here
  std::vector<NodeId> nodes;  // run: consecutive nodes
  ValueId value = kNoValue;   // copy: the root that is copied
};

struct Schedule {
  std::vector<int> node_backend;    // by node
  std::vector<int> home;            // by value: backend that owns a root's memory; -1 if unused
  std::vector<ScheduleStep> steps;  // in order
  std::vector<NodeId> fallbacks;    // nodes whose own backend does not support them
};

// Whether a tensor that lives on backend `a` can be used by `b` where it is.
bool shares_memory(const Backend& a, const Backend& b);

// A node runs where its largest weight or state lives, else where the latest of its inputs was
// computed, so that a residual follows its layer; what reads nothing but inputs of the graph runs
// where the node before it did. If that backend does not support it, the first of `backends` that
// does takes it (the last is the one that supports all). A node that changes a state stays with it.
// Throws Error when no backend supports a node or one is not listed.
Schedule make_schedule(const Graph& graph, std::span<const std::shared_ptr<Backend>> backends);

}  // namespace l2a
