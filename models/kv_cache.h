// The KV caches of one or more sequences: which layers keep what, and how large that is.
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
#include "ops/batch_attention.h"
#include "ops/kv_append.h"

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

// Where the positions of sequences are in a cache: the same in all layers that keep as much.
struct CacheLayout {
  std::int64_t capacity = 0;  // slots of a sequence
  std::int64_t stride = 0;    // from one sequence's first slot to the next one's
  std::int64_t sinks = 0;
  bool ring = false;

  // The slot of a sequence's position, counted from the first slot of all.
  std::int32_t place(std::int64_t sequence, std::int64_t position) const {
    return static_cast<std::int32_t>(sequence * stride + cache_slot(position, capacity, sinks));
  }
};

// Where one attention's keys and values live. Position-major, so that a cache grows at its end.
struct StoredCache {
  std::shared_ptr<Buffer> keys,
      values;         // [sequences * stride, Hk, D] each; empty where a layer has no such cache
  bool ring = false;  // which layout
};

// For a batch, where each token's keys go (BatchCache::places), in caches of either layout.
struct CachePlaces {
  Tensor every, ring;
};

class KvCaches {
 public:
  // Reserves room for `context` positions of each sequence in caches of f32, f16, bf16 or q8_0, each layer's where it is
  // placed. On the host, memory is taken as it fills.
  KvCaches(const ModelConfig& config, const Placement& placement, Dtype dtype, std::int64_t context,
           std::int64_t sequences = 1);

  std::int64_t context() const { return context_; }
  std::int64_t sequences() const { return sequences_; }
  // Of caches that keep every position, and of rings.
  const CacheLayout& every() const { return every_; }
  const CacheLayout& ring() const { return ring_; }
  // Writes small pseudo-random numbers as the keys and values of a sequence's positions [begin, end).
  void fill(std::int64_t sequence, std::int64_t begin, std::int64_t end);

  // A sequence's cache of a layer's first attention, as states of a graph.
  KvCache local(GraphBuilder& graph, std::int64_t layer, std::int64_t sequence) const;
  // The second one's, of an "add" layer that is not pruned.
  KvCache global(GraphBuilder& graph, std::int64_t layer, std::int64_t sequence) const;
  // The same of all sequences together.
  BatchCache local(GraphBuilder& graph, std::int64_t layer, const CachePlaces& places) const;
  BatchCache global(GraphBuilder& graph, std::int64_t layer, const CachePlaces& places) const;

 private:
  const CacheLayout& layout(const StoredCache& cache) const { return cache.ring ? ring_ : every_; }
  std::int64_t stride(std::int64_t capacity) const;
  KvCache in(GraphBuilder& graph, const StoredCache& cache, std::string_view name,
             std::int64_t layer, std::int64_t sequence) const;
  BatchCache in(GraphBuilder& graph, const StoredCache& cache, std::string_view name,
                std::int64_t layer, const CachePlaces& places) const;

  Dtype dtype_;
  std::int64_t context_, sequences_, kv_heads_, head_dim_;
  CacheLayout every_, ring_;
  std::vector<StoredCache> local_, global_;
};

}  // namespace l2a
