// Where a graph projects to heads: runs of nodes, as ops/self_attention.cpp adds them, that backends compute together.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "graph/node_run.h"

namespace l2a {

// A matmul, then, each where it is there, a bias, a head norm and rope. Nothing else reads what lies between them.
struct ProjectionRun {
  static constexpr std::size_t kNone = SIZE_MAX;
  std::size_t matmul = 0;
  std::size_t bias = kNone, norm = kNone, rope = kNone;
  std::size_t last = 0;  // whose output the run has

  std::size_t end() const { return last + 1; }
};

// Keys, values, both appends and, where they follow, queries.
struct HeadsRun {
  ProjectionRun key, value;
  std::size_t append_key = 0, append_value = 0;
  std::optional<ProjectionRun> query;

  std::size_t end() const { return query ? query->end() : append_value + 1; }
};

// Whether both matmuls multiply the same activations.
bool same_activations(const NodeRun& run, std::size_t i, std::size_t j);

// What begins at node i. Heads are of the same activations; but where `gather` is given, the queries are of what that
// node gathers from them, and nothing else is.
std::optional<ProjectionRun> match_projection(const NodeRun& run, std::size_t i);
std::optional<HeadsRun> match_heads(const NodeRun& run, std::size_t i,
                                    std::size_t gather = ProjectionRun::kNone);

}  // namespace l2a
