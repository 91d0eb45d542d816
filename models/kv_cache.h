// The KV caches of a session: which layers keep what, and how large that is.
//
//   dense layer              every position
//   "add" layer, local       a ring of W positions
//   "add" layer, global      every position; none when the layer is pruned
//   "widen" layer            every position; a ring of W and S sinks when it is pruned
#pragma once

#include <memory>
#include <vector>

#include "models/model_config.h"
#include "models/placement.h"

namespace l2a {

struct CacheBytes {
  std::uint64_t local = 0;   // rings
  std::uint64_t global = 0;  // caches that grow with the context

  std::uint64_t total() const { return local + global; }
};

// Bytes of a layer's caches when `positions` tokens are in them.
CacheBytes layer_cache_bytes(const ModelConfig& config, std::int64_t layer, Dtype dtype,
                             std::int64_t positions);
// The same of all layers.
CacheBytes cache_bytes(const ModelConfig& config, Dtype dtype, std::int64_t positions);

// Where one attention's keys and values live. Position-major, so that a cache grows at its end.
struct StoredCache {
  std::shared_ptr<Buffer> keys, values;  // [capacity, Hk, D] each
  std::int64_t capacity = 0;
  std::int64_t sinks = 0;
  bool ring = false;
};

class KvCaches {
 public:
  // Reserves room for `context` positions in caches of f32, f16, bf16 or q8_0, each layer's where it is placed. On the host,
  // memory is taken as it fills.
  KvCaches(const ModelConfig& config, const Placement& placement, Dtype dtype,
           std::int64_t context);

  std::int64_t context() const { return context_; }
  // Writes small pseudo-random numbers as the keys and values of positions [begin, end).
  void fill(std::int64_t begin, std::int64_t end);

  // The first attention's cache of a layer as states of a graph.
  KvCache local(GraphBuilder& graph, std::int64_t layer) const;
  // The second one's, of an "add" layer that is not pruned.
  KvCache global(GraphBuilder& graph, std::int64_t layer) const;

 private:
  KvCache in(GraphBuilder& graph, const StoredCache& cache, std::string_view name,
             std::int64_t layer) const;

  Dtype dtype_;
  std::int64_t context_, kv_heads_, head_dim_;
  std::vector<StoredCache> local_, global_;
};

}  // namespace l2a
