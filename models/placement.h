// Which backend holds which part of a model. The scheduler runs what reads a weight where that weight lives.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "graph/backend.h"

namespace l2a {

struct Placement {
  std::shared_ptr<Backend> outer;                // embedding, RoPE frequencies, last norm, head
  std::vector<std::shared_ptr<Backend>> layers;  // by layer, with its caches; empty: all on `outer`

  Backend& layer(std::int64_t index) const {
    return layers.empty() ? *outer : *layers[static_cast<std::size_t>(index)];
  }
  // Each once, those of the layers first.
  std::vector<Backend*> backends() const;
};

// The last `count` of `layers` layers on `device` and the rest on `host`; all of the model on `device` when there
// are fewer layers than that: a head is moved after the layers, as in other runtimes.
Placement split_layers(std::int64_t layers, std::int64_t count, std::shared_ptr<Backend> device,
                       const std::shared_ptr<Backend>& host);

}  // namespace l2a
