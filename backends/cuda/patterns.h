// The runs of nodes that lowering makes one launch of: how they are found.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "backends/cuda/lowering.h"
#include "graph/node_run.h"
#include "ops/head_runs.h"

namespace l2a::cuda {

// The router of a single token before its heads; in "add" the query's row is gathered (ops/l2a_attention.cpp).
struct Routed {
  static constexpr std::size_t kNone = ProjectionRun::kNone;
  std::size_t route = kNone, gather = kNone;

  bool there() const { return route != kNone; }
  bool gathers() const { return gather != kNone; }
  std::size_t end() const { return (gathers() ? gather : route) + 1; }
};

class Patterns : public NodeRun {
 public:
  Patterns(const Graph& graph, std::span<const NodeId> nodes, std::span<const Operands> operands,
           const DeviceTraits& device)
      : NodeRun(graph, nodes, operands), device_(device) {}

  const DeviceTraits& device() const { return device_; }

  // A product of few tokens that the matvec kernels take.
  bool few(std::size_t i) const;
  // Whether blocks prepare the activations of this product, of a single token, for themselves.
  bool prepares(std::size_t i) const;
  // Quantized products of several tokens read a copy of their activations; others read them where they are, where
  // nothing may be written meanwhile.
  bool writes_apart(std::size_t product, const TensorView& to) const;
  // Whether products, which come after node i, can normalize for themselves, so that its output need not be written.
  bool can_leave_norm(std::size_t i) const;

  std::optional<Routed> match_routed(std::size_t i) const;
  std::optional<HeadsRun> match_heads(std::size_t i, const Routed& routed) const;
  // Whether attention i is of these heads: of the queries alone, and over the caches that the rest is appended to,
  // where nothing else of this run has written.
  bool attends(std::size_t i, const HeadsRun& heads) const;

 private:
  DeviceTraits device_;
};

template <class T>
const T* address(const TensorView& view) {
  return reinterpret_cast<const T*>(view.data);
}

}  // namespace l2a::cuda
