#include "models/memory_need.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "models/kv_cache.h"

namespace l2a {
namespace {

// The N of "blk.N.name"; -1 for tensors outside the layers.
std::int64_t layer_of(std::string_view tensor) {
  constexpr std::string_view kPrefix = "blk.";
  std::int64_t layer = -1;
  if (!tensor.starts_with(kPrefix)) return layer;
  std::from_chars(tensor.data() + kPrefix.size(), tensor.data() + tensor.size(), layer);
  return layer;
}

// A step's intermediates are freed as it goes, so a layer's are those of its widest moment: the hidden state twice, the
// queries with their attention, and the MLP's two halves and product; and the logits. In f32; half as much again for
// copies in other types and for what attention and split products keep aside.
std::uint64_t step_bytes(const ModelConfig& config, std::int64_t tokens, LogitsOf logits) {
  const std::int64_t attention = 2 * config.heads * config.head_dim;
  const std::int64_t widest = 2 * config.hidden + attention + 3 * config.feed_forward;
  const std::int64_t floats =
      tokens * widest + config.vocabulary * (logits == LogitsOf::all ? tokens : 1);
  return static_cast<std::uint64_t>(floats) * sizeof(float) * 3 / 2;
}

}  // namespace

std::uint64_t MemoryNeed::total() const {
  return std::accumulate(layers.begin(), layers.end(), outer + step);
}

MemoryNeed memory_need(const GgufFile& file, const ModelConfig& config,
                       const SessionOptions& options, LogitsOf logits, std::int64_t sequences) {
  const std::int64_t context = options.context > 0 ? options.context : config.context;
  MemoryNeed need;
  need.layers.resize(static_cast<std::size_t>(config.layers));
  for (const GgufTensor& tensor : file.tensors()) {
    const std::int64_t layer = layer_of(tensor.name);
    const bool outer = layer < 0 || layer >= config.layers;
    std::uint64_t& part = outer ? need.outer : need.layers[static_cast<std::size_t>(layer)];
    std::uint64_t& largest = outer ? need.outer_buffer : need.layer_buffer;
    part += tensor.data.size();
    largest = std::max<std::uint64_t>(largest, tensor.data.size());
  }
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    CacheBytes caches = layer_cache_bytes(config, layer, options.cache_dtype, context);
    caches.local *= static_cast<std::uint64_t>(sequences);
    caches.global *= static_cast<std::uint64_t>(sequences);
    need.layers[static_cast<std::size_t>(layer)] += caches.total();
    if (options.narrowing) {  // four tensors [tokens, hidden] are kept to be read
      need.layers[static_cast<std::size_t>(layer)] += static_cast<std::uint64_t>(
          4 * std::min(options.chunk, context) * config.hidden * std::int64_t{sizeof(float)});
    }
    need.layer_buffer = std::max(need.layer_buffer, std::max(caches.local, caches.global) / 2);
  }
  need.step = step_bytes(config, std::min(options.chunk, context), logits);
  return need;
}

std::int64_t layers_that_fit(const MemoryNeed& need, const MemoryRoom& room) {
  const auto layers = static_cast<std::int64_t>(need.layers.size());
  if (need.layer_buffer > room.allocation) return 0;
  if (need.total() <= room.bytes && need.outer_buffer <= room.allocation) return layers + 1;
  std::uint64_t sum = need.step;
  std::int64_t fit = 0;
  while (fit < layers) {
    sum += need.layers[static_cast<std::size_t>(layers - 1 - fit)];
    if (sum > room.bytes) break;
    ++fit;
  }
  return fit;
}

}  // namespace l2a
