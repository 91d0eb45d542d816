#include "models/kv_cache.h"

#include <algorithm>
#include <numeric>

#include "graph/error.h"
#include "ops/quantize.h"

namespace l2a {
namespace {

constexpr std::string_view kLocalName = "cache", kGlobalName = "global_cache";

// Slots of a layer's first cache: nothing when it keeps every position.
struct Ring {
  bool bounded = false;
  std::int64_t window = 0, sinks = 0;
};

Ring first_cache(const ModelConfig& config, std::int64_t layer) {
  if (!config.l2a) return {};
  const L2aConfig& l2a = *config.l2a;
  if (l2a.mode == L2aMode::widen && config.routes(layer)) return {};
  return {true, l2a.window, l2a.sinks};
}

bool has_second_cache(const ModelConfig& config, std::int64_t layer) {
  return config.routes(layer) && config.l2a->mode == L2aMode::add;
}

std::uint64_t position_bytes(const ModelConfig& config, Dtype dtype) {
  return 2 * dtype_bytes(dtype, config.kv_heads * config.head_dim);  // a key and a value
}

}  // namespace

CacheBytes layer_cache_bytes(const ModelConfig& config, std::int64_t layer, Dtype dtype,
                             std::int64_t positions) {
  const std::uint64_t each = position_bytes(config, dtype);
  const Ring ring = first_cache(config, layer);
  CacheBytes bytes;
  if (ring.bounded) {
    bytes.local = each * static_cast<std::uint64_t>(std::min(positions, ring.window + ring.sinks));
  } else {
    bytes.global = each * static_cast<std::uint64_t>(positions);
  }
  if (has_second_cache(config, layer)) bytes.global += each * static_cast<std::uint64_t>(positions);
  return bytes;
}

CacheBytes cache_bytes(const ModelConfig& config, Dtype dtype, std::int64_t positions) {
  CacheBytes bytes;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const CacheBytes of_layer = layer_cache_bytes(config, layer, dtype, positions);
    bytes.local += of_layer.local;
    bytes.global += of_layer.global;
  }
  return bytes;
}

KvCaches::KvCaches(const ModelConfig& config, const Placement& placement, Dtype dtype,
                   std::int64_t context, std::int64_t sequences)
    : dtype_(dtype),
      context_(context),
      sequences_(sequences),
      kv_heads_(config.kv_heads),
      head_dim_(config.head_dim) {
  if (context < 1) throw Error(concat("a context holds at least 1 token, not ", context));
  if (context > INT32_MAX) {
    throw Error(concat("a context holds at most ", INT32_MAX, " tokens, not ", context));
  }
  if (!is_cache_dtype(dtype)) {
    throw Error(concat("a KV cache is f32, f16, bf16 or q8_0, not ", dtype));
  }
  if (head_dim_ % dtype_info(dtype).block_elements != 0) {
    throw Error(concat("a KV cache of ", dtype, " needs heads of whole blocks of ",
                       dtype_info(dtype).block_elements, " values; this model's have ", head_dim_));
  }
  every_ = {context, stride(context), 0, false};
  if (every_.stride > INT32_MAX / sequences) {
    throw Error(concat("the contexts of ", sequences, " sequences are together at most ", INT32_MAX,
                       " tokens; each is ", context));
  }
  if (config.l2a) {
    const std::int64_t slots = config.l2a->window + config.l2a->sinks;
    ring_ = {slots, stride(slots), config.l2a->sinks, true};
  }
  auto allocate = [&](Backend& backend, bool ring) {
    const std::size_t bytes = position_bytes(config, dtype) / 2 *
                              static_cast<std::size_t>(sequences * (ring ? ring_ : every_).stride);
    try {
      return StoredCache{backend.allocate(bytes), backend.allocate(bytes), ring};
    } catch (const Error& error) {
      throw Error(
          concat("the KV caches of ", context, " tokens take ",
                 l2a::cache_bytes(config, dtype, context).total(), " bytes",
                 sequences > 1 ? concat(" for each of ", sequences, " sequences") : std::string(),
                 ": ", error.what()));
    }
  };
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const bool wraps = first_cache(config, layer).bounded && ring_.capacity < context;
    Backend& backend = placement.layer(layer);
    local_.push_back(allocate(backend, wraps));
    global_.push_back(has_second_cache(config, layer) ? allocate(backend, false) : StoredCache{});
  }
}

// So long that every sequence's first slot is as aligned as the first of all, which kernels may count on.
std::int64_t KvCaches::stride(std::int64_t capacity) const {
  if (sequences_ == 1) return capacity;
  constexpr std::size_t kAlignment = 256;
  const std::size_t row = dtype_bytes(dtype_, kv_heads_ * head_dim_);
  const auto step = static_cast<std::int64_t>(kAlignment / std::gcd(kAlignment, row));
  return (capacity + step - 1) / step * step;
}

void KvCaches::fill(std::int64_t sequence, std::int64_t begin, std::int64_t end) {
  constexpr std::int64_t kPositions = 256;  // at a time
  const std::int64_t row = kv_heads_ * head_dim_;
  std::vector<float> numbers(static_cast<std::size_t>(kPositions * row));
  std::uint32_t state = 1;
  for (float& number : numbers) {  // a linear congruential generator; its low bits are poor
    state = state * 1664525U + 1013904223U;
    number = static_cast<float>(state >> 16) / 65536 - 0.5f;
  }
  std::vector<std::byte> encoded(dtype_bytes(dtype_, kPositions * row));
  quantize_row(dtype_, numbers, encoded);
  const std::size_t row_bytes = dtype_bytes(dtype_, row);
  auto fill_buffer = [&](const CacheLayout& layout, Buffer& buffer) {
    // Positions that share a slot of a ring are as good as one another.
    for (std::int64_t slot = std::min(begin, layout.capacity);
         slot < std::min(end, layout.capacity);) {
      const std::int64_t count = std::min(kPositions, std::min(end, layout.capacity) - slot);
      buffer.upload(static_cast<std::size_t>(sequence * layout.stride + slot) * row_bytes,
                    std::span(encoded).first(static_cast<std::size_t>(count) * row_bytes));
      slot += count;
    }
  };
  for (const auto* caches : {&local_, &global_}) {
    for (const StoredCache& cache : *caches) {
      if (!cache.keys) continue;
      fill_buffer(layout(cache), *cache.keys);
      fill_buffer(layout(cache), *cache.values);
    }
  }
}

KvCache KvCaches::in(GraphBuilder& graph, const StoredCache& cache, std::string_view name,
                     std::int64_t layer, std::int64_t sequence) const {
  const CacheLayout& where = layout(cache);
  const Shape shape{where.capacity, kv_heads_, head_dim_};
  const std::size_t offset = static_cast<std::size_t>(sequence * where.stride) *
                             dtype_bytes(dtype_, kv_heads_ * head_dim_);
  return {graph.state(concat(name, "_keys.", layer), dtype_, shape, cache.keys, offset),
          graph.state(concat(name, "_values.", layer), dtype_, shape, cache.values, offset),
          where.sinks, where.ring};
}

BatchCache KvCaches::in(GraphBuilder& graph, const StoredCache& cache, std::string_view name,
                        std::int64_t layer, const CachePlaces& places) const {
  const CacheLayout& where = layout(cache);
  const Shape shape{sequences_ * where.stride, kv_heads_, head_dim_};
  return {graph.state(concat(name, "_keys.", layer), dtype_, shape, cache.keys),
          graph.state(concat(name, "_values.", layer), dtype_, shape, cache.values),
          where.stride,
          where.capacity,
          where.sinks,
          where.ring,
          where.ring ? places.ring : places.every};
}

KvCache KvCaches::local(GraphBuilder& graph, std::int64_t layer, std::int64_t sequence) const {
  return in(graph, local_[static_cast<std::size_t>(layer)], kLocalName, layer, sequence);
}

KvCache KvCaches::global(GraphBuilder& graph, std::int64_t layer, std::int64_t sequence) const {
  return in(graph, global_[static_cast<std::size_t>(layer)], kGlobalName, layer, sequence);
}

BatchCache KvCaches::local(GraphBuilder& graph, std::int64_t layer,
                           const CachePlaces& places) const {
  return in(graph, local_[static_cast<std::size_t>(layer)], kLocalName, layer, places);
}

BatchCache KvCaches::global(GraphBuilder& graph, std::int64_t layer,
                            const CachePlaces& places) const {
  return in(graph, global_[static_cast<std::size_t>(layer)], kGlobalName, layer, places);
}

}  // namespace l2a
