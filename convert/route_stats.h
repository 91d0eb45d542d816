// How often each layer routed, as a file: what l2a-run and l2a-perplexity record and l2a-convert prunes by.
//
//   {"architecture": "l2a-qwen3", "layers": 3, "tokens": 4096,
//    "routed": [310, null, 12], "share": [0.0757, null, 0.0029]}
//
// `routed` counts tokens, null for a layer without a router; `share` repeats it for readers and is not read back.
#pragma once

#include <filesystem>
#include <vector>

#include "models/model_config.h"
#include "models/session.h"

namespace l2a {

// Writes aside and renames. Throws FileError when it cannot be written.
void write_route_stats(const std::filesystem::path& target, const ModelConfig& config,
                       const RoutingStats& stats);

// Throws FileError when the file is malformed or was recorded with another kind of model: another architecture,
// number of layers, or other layers with routers.
RoutingStats read_route_stats(const std::filesystem::path& path, const ModelConfig& config);

// Layers with a router that routed less than this share of tokens, ascending.
std::vector<std::int64_t> layers_below(const RoutingStats& stats, double share);

}  // namespace l2a
