// What a run cost: the block of figures that l2a-run prints, for people and for machines.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "graph/op_times.h"
#include "models/session.h"

namespace l2a {

struct Figures {
  std::string model;  // file name
  std::string architecture;
  std::string backend;
  double load_seconds = 0;
  std::int64_t prompt_tokens = 0;  // that were run: not those held from before, nor after a stop
  std::int64_t generated_tokens = 0;
  double first_token_seconds = 0;  // from the start of the prompt; none without generated tokens
  double prefill_seconds = 0;
  double decode_seconds = 0;  // of the generated tokens after the first
  CacheBytes cache;
  std::size_t arena_bytes = 0;
  RoutingStats routing;
  OpTimes prefill_ops, decode_ops;  // when they were asked for

  double prefill_rate() const;  // tokens/s; 0 when there is nothing to divide
  double decode_rate() const;
};

// Several lines, the last one ended. `colour`: for a terminal.
std::string figures_text(const Figures& figures, bool colour);
nlohmann::ordered_json figures_json(const Figures& figures);
// The routed share, and that of each layer, null where it has no router. Of at least one token.
nlohmann::ordered_json routing_json(const RoutingStats& stats);

}  // namespace l2a
