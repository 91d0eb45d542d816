// What a model and a session with it take of a device's memory, and how much of the model a device can hold.
#pragma once

#include <cstdint>
#include <vector>

#include "graph/backend.h"
#include "models/gguf.h"
#include "models/model_config.h"
#include "models/session.h"

namespace l2a {

struct MemoryNeed {
  std::uint64_t outer = 0;            // embedding, last norm, head
  std::vector<std::uint64_t> layers;  // each with its caches
  std::uint64_t step = 0;             // what a step computes on the way: at most about this
  // The largest buffers among them: a tensor, or a cache's keys.
  std::uint64_t outer_buffer = 0, layer_buffer = 0;

  std::uint64_t total() const;
};

// Of the weights of this file, with the context, chunk and caches of `options` (a context of 0 is the model's), steps that
// compute these logits, and as many sequences, each with such caches.
MemoryNeed memory_need(const GgufFile& file, const ModelConfig& config,
                       const SessionOptions& options, LogitsOf logits = LogitsOf::last,
                       std::int64_t sequences = 1);

// The most layers, as split_layers counts them, that fit into `room`: 0 to the number of layers, and one more when
// the whole model does.
std::int64_t layers_that_fit(const MemoryNeed& need, const MemoryRoom& room);

}  // namespace l2a
