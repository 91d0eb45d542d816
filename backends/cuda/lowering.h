// From nodes to launches. Most nodes are one kernel of their own. At decode, where a token is some hundred short
// kernels and every launch costs as much as a small one, runs of nodes become one:
//
//   rms_norm                                     norm_quantize: also writes what quantized products read
//   matmul, add                                  the addend is added by the product
//   matmul, matmul, silu_mul                     gate and up rows together, and their silu_mul
//   the projections of an attention, their       one product of all with the same type; then finish_heads
//   biases, head norms, rope and kv_append
//
// and of a single token
//
//   rms_norm before products                     nothing: their blocks normalize, each for itself
//   route, gather_rows, count_rows               the product of the queries
//   what finish_heads does, and attention        one kernel, on the tensor cores' caches
//   matmul, scatter_add_rows                     as matmul, add
//
// A run is fused when nothing else reads what lies between its nodes, and when what it writes does not lie where it
// still reads.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "backends/cuda/kernel.h"
#include "graph/backend.h"

namespace l2a::cuda {

struct Scratch {
  std::byte* general = nullptr;      // for one step
  std::byte* activations = nullptr;  // quantized, from the step that writes them on
  std::byte* heads = nullptr;        // projections, between a product and finish_heads
  std::uint32_t* counters = nullptr;
};

struct Step {
  std::size_t node = 0;  // which its time belongs to
  std::function<void(const Scratch&)> run;
};

struct Lowered {
  std::vector<Step> steps;
  std::size_t general_bytes = 0, activation_bytes = 0, head_bytes = 0;
};

// Both must outlive the steps; `operands` are those of `nodes`, in order.
Lowered lower(const Graph& graph, std::span<const NodeId> nodes,
              std::span<const Operands> operands, const DeviceTraits& device,
              cudaStream_t stream);

}  // namespace l2a::cuda
