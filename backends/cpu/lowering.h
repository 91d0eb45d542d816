// From nodes to steps. Most nodes are one step, of their kernel; runs of them become fewer:
//
//   rms_norm before products of quantized       applied while the activations are rounded for them
//   weights that alone read it
//   matmul, matmul, silu_mul                    gate and up together, and their silu_mul while they are in cache
//   matmul, add                                 the product is added to what is there
//   the projections of an attention, their      the products together, then finish_heads.h
//   biases, head norms, rope and kv_append
//
// Activations are rounded once for all products of a step, threads meet once, and what lies between the nodes is not
// written to memory to be read again. A run is joined when nothing else reads what lies between its nodes.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include "backends/cpu/kernel.h"
#include "graph/backend.h"

namespace l2a::cpu {

// Memory of a plan's steps, 64-byte aligned.
struct Scratch {
  std::byte* general = nullptr;  // for one step
  std::byte* heads = nullptr;    // projections, between a product and finish_heads
};

struct Step {
  std::size_t node = 0;  // which its time belongs to
  std::function<void(const Scratch&)> run;
};

struct Lowered {
  std::vector<Step> steps;
  std::size_t general_bytes = 0, head_bytes = 0;
};

// What is given must outlive the steps; `operands` are those of `nodes`, in order.
Lowered lower(const Graph& graph, std::span<const NodeId> nodes, std::span<const Operands> operands,
              ThreadPool& pool, const SimdKernels& simd);

}  // namespace l2a::cpu
