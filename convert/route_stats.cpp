#include "convert/route_stats.h"

#include "convert/json_file.h"
#include "convert/temporary_file.h"
#include "graph/error.h"
#include "models/quote.h"

namespace l2a {
namespace {

constexpr std::int64_t kMostTokens = std::int64_t{1} << 53;  // whole numbers in every JSON reader

// The number of tokens, or -1 for a layer without a router.
std::int64_t routed_of(const JsonFields& fields, const Json& entry, std::size_t layer,
                       std::int64_t tokens) {
  if (entry.is_null()) return -1;
  // Unsigned: negative numbers are another kind, floats a third.
  if (!entry.is_number_unsigned() ||
      entry.get<std::uint64_t>() > static_cast<std::uint64_t>(tokens)) {
    fields.fail("routed", concat("entry ", layer, " is not null and no whole number from 0 to ",
                                 tokens, ", the tokens"));
  }
  return entry.get<std::int64_t>();
}

}  // namespace

void write_route_stats(const std::filesystem::path& target, const ModelConfig& config,
                       const RoutingStats& stats) {
  nlohmann::ordered_json routed = nlohmann::ordered_json::array();
  nlohmann::ordered_json shares = nlohmann::ordered_json::array();
  for (const std::int64_t count : stats.routed) {
    const bool counted = count >= 0;
    routed.push_back(counted ? nlohmann::ordered_json(count) : nlohmann::ordered_json());
    shares.push_back(counted ? nlohmann::ordered_json(static_cast<double>(count) /
                                                      static_cast<double>(stats.tokens))
                             : nlohmann::ordered_json());
  }
  const nlohmann::ordered_json json = {{"architecture", config.architecture},
                                       {"layers", config.layers},
                                       {"tokens", stats.tokens},
                                       {"routed", routed},
                                       {"share", shares}};
  const std::string text = json.dump(2) + "\n";
  TemporaryFile file(target);
  file.write(std::as_bytes(std::span(text)));
  file.commit();
}

RoutingStats read_route_stats(const std::filesystem::path& path, const ModelConfig& config) {
  const Json json = read_json_object(path);
  const JsonFields fields(json, path.string());
  const std::string architecture = fields.string("architecture");
  const std::int64_t layers = fields.integer("layers", 1, INT32_MAX);
  if (architecture != config.architecture || layers != config.layers) {
    throw FileError(concat(path.string(), ": was recorded with ", quote(architecture), " of ",
                           layers, " layers; this model is ", config.architecture, " of ",
                           config.layers));
  }
  RoutingStats stats;
  stats.tokens = fields.integer("tokens", 1, kMostTokens);
  const Json& routed = fields.get("routed");
  if (!routed.is_array() || routed.size() != static_cast<std::size_t>(layers))
    fields.fail("routed", concat("an array of ", layers, " was expected"));
  for (std::size_t layer = 0; layer < routed.size(); ++layer) {
    stats.routed.push_back(routed_of(fields, routed[layer], layer, stats.tokens));
    if ((stats.routed.back() >= 0) != config.routes(static_cast<std::int64_t>(layer))) {
      throw FileError(concat(path.string(), ": was recorded with another model: layer ", layer,
                             stats.routed.back() >= 0 ? " routed there and has no router here"
                                                      : " has a router here and had none there"));
    }
  }
  return stats;
}

std::vector<std::int64_t> layers_below(const RoutingStats& stats, double share) {
  std::vector<std::int64_t> layers;
  for (std::size_t layer = 0; layer < stats.routed.size(); ++layer) {
    const std::int64_t routed = stats.routed[layer];
    if (routed >= 0 && static_cast<double>(routed) < share * static_cast<double>(stats.tokens))
      layers.push_back(static_cast<std::int64_t>(layer));
  }
  return layers;
}

}  // namespace l2a
