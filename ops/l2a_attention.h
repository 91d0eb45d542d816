// L2A attention: global attention for the tokens that a router picks (arXiv 2603.17484; design
// section 2). The public op of the library. It lowers to primitives, all of which touch only the
// routed rows, and which a backend may fuse.
#pragma once

#include "graph/graph.h"
#include "ops/self_attention.h"

namespace l2a {

enum class L2aMode : std::uint8_t {
  add,    // the paper's: a second attention with its own weights and cache, added for routed tokens
  widen,  // one attention: a window and sinks for every token, all keys for routed ones
};

struct L2aOptions {
  L2aMode mode = L2aMode::add;
  std::int64_t window = 0;  // widen: W of the tokens that are not routed
  std::int64_t sinks = 0;   // widen: S
  float cut = 0;            // of the router (router_cut)
};

struct L2aRouter {
  Tensor weight;   // f32 [1, F]
  Tensor bias{};   // f32 [1], widen only; may be empty
  Tensor input{};  // f32 [T, F]; empty: h, and F is E
};

struct L2aResult {
  Tensor x;   // [T, E]: x with the attention of the routed (add) or of all (widen) tokens added
  Rows rows;  // who was routed
};

// x [T, E]: what the attention is added to. h [T, E]: x normalized, by the global norm in "add"
// (where x already holds the local attention), by the layer's only norm in "widen". `block` is the
// global branch in "add", the only attention in "widen"; its cache must not be a ring.
L2aResult l2a_attention(GraphBuilder& graph, Tensor x, Tensor h, const AttentionBlock& block,
                        const L2aRouter& router, const TokenInputs& tokens,
                        const L2aOptions& options);

}  // namespace l2a
