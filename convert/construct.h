// What can be made of a model without training it: an L2A model of a dense one, and one with layers pruned.
// Nothing is computed here; tensors are added, dropped or renamed before they are written.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "convert/checkpoint.h"

namespace l2a {

struct L2aConstruction {
  L2aMode mode = L2aMode::add;
  std::int64_t window = 4095;
  std::int64_t sinks = 0;  // widen only
  double temperature = 0.1;
  double threshold = 0.5;
  // "add": the output projection of the global branch is zero, so that below the window the model
  // is exactly the dense one, whatever the router says.
  bool zero_global_output = false;
};

// Makes an L2A model of a dense one as the paper's code does: "add" copies the local branch into the
// global one, "widen" adds nothing but a router. The router's weights are zero, so with a threshold of
// one half every token routes. Throws Error when the model is L2A already or a setting is out of range.
void make_l2a(Checkpoint& checkpoint, const L2aConstruction& construction);

// A layer's router as "widen" has it: a token's logit is h . weights + bias.
struct LinearRouter {
  std::vector<float> weights;  // [E]
  float bias = 0;
};
// Gives a "widen" model, none of whose layers is pruned and none of whose routers has a bias, these routers, by layer.
void set_routers(Checkpoint& checkpoint, std::span<const LinearRouter> routers);

// Drops routers and global branches of these layers. Throws Error for a dense model, and for a layer that
// is not there or is pruned already.
void prune_layers(Checkpoint& checkpoint, std::span<const std::int64_t> layers);

// Other positions than the model was trained for.
void set_rope_base(Checkpoint& checkpoint, double base);
void set_context(Checkpoint& checkpoint, std::int64_t context);

}  // namespace l2a
