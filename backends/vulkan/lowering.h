// From nodes to steps. Most nodes are one step, of their kernel. At decode on a GPU, where a token is some
// hundred short dispatches and every barrier between them costs as much as a small one, runs of nodes become
// one:
//
//   rms_norm                                     products apply it to what they read
//   matmul, add                                  the addend is added by the product
//   matmul, argmax                               the product of one token finds it as well
//   matmul, matmul, silu_mul                     gate and up rows together, and their silu_mul
//   the projections of an attention, their       one product of all with the same type; then finish_heads or,
//   biases, head norms, rope and kv_append       of one token and all keys or a window, the attention itself
//
// A run is joined when nothing else reads what lies between its nodes, and when what it writes does not lie
// where it still reads. So that the latter is rare, what only one product reads is moved to memory of its own.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "backends/vulkan/kernel.h"

namespace l2a::vulkan {

struct Step {
  std::size_t node = 0;                                 // whose time it is
  std::function<void(Recorder& recorder)> record = {};  // empty: by the node's own kernel
  // What a step with a record reads and writes, weights aside.
  std::vector<ValueId> reads = {}, writes = {};
  std::vector<Extent> own_reads = {}, own_writes = {};  // of Lowered::memory
  // Whether it can be linked (links.h): to what is before, as one dispatch whose operands may still be on their way;
  // and to what follows, as all that it writes for others lies in Lowered::linked.
  bool can_wait = false, can_raise = false;
};

struct Lowered {
  std::vector<Step> steps;
  std::vector<std::unique_ptr<Memory>> memory;
  LinkMemory linked;
};

// `places` may get other places for values; it and the graph must outlive the steps.
Lowered lower(const std::shared_ptr<Device>& device, const Graph& graph,
              std::span<const NodeId> nodes, Places& places);

}  // namespace l2a::vulkan
