#include "examples/common/figures.h"

#include <array>
#include <cmath>
#include <iomanip>
#include <sstream>

#include "examples/common/op_table.h"
#include "examples/common/progress.h"
#include "graph/error.h"

namespace l2a {
namespace {

constexpr const char* kDim = "\x1b[2m";
constexpr const char* kReset = "\x1b[0m";

std::string rate_text(double rate) {
  return concat(std::fixed, std::setprecision(1), rate, " tokens/s");
}

std::string percent_text(double share) {
  return concat(std::fixed, std::setprecision(1), 100 * share, "%");
}

// One character a layer, higher for a larger share; a dot for a layer without a router.
std::string layer_bars(const RoutingStats& stats) {
  constexpr std::array<const char*, 9> kBars = {"▁", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  std::string bars;
  for (const std::int64_t routed : stats.routed) {
    if (routed < 0) {
      bars += "·";
    } else {
      const double share =
          stats.tokens > 0 ? static_cast<double>(routed) / static_cast<double>(stats.tokens) : 0;
      bars += kBars[static_cast<std::size_t>(std::lround(share * 8))];
    }
  }
  return bars;
}

}  // namespace

double Figures::prefill_rate() const {
  return prefill_seconds > 0 ? static_cast<double>(prompt_tokens) / prefill_seconds : 0;
}

double Figures::decode_rate() const {
  return decode_seconds > 0 ? static_cast<double>(generated_tokens - 1) / decode_seconds : 0;
}

nlohmann::ordered_json routing_json(const RoutingStats& stats) {
  nlohmann::ordered_json layers = nlohmann::ordered_json::array();
  for (const std::int64_t routed : stats.routed) {
    layers.push_back(routed < 0 ? nlohmann::ordered_json()
                                : nlohmann::ordered_json(static_cast<double>(routed) /
                                                         static_cast<double>(stats.tokens)));
  }
  return {{"share", stats.share()}, {"layers", layers}};
}

std::string figures_text(const Figures& figures, bool colour) {
  std::ostringstream out;
  auto line = [&](const char* label, const std::string& value, const std::string& note = "") {
    out << (colour ? kDim : "") << std::left << std::setw(14) << label << std::right
        << (colour ? kReset : "") << value;
    if (!note.empty()) out << (colour ? kDim : "") << "  " << note << (colour ? kReset : "");
    out << "\n";
  };
  line("first token",
       figures.generated_tokens > 0 ? seconds_text(figures.first_token_seconds) : "none",
       concat("model loaded in ", seconds_text(figures.load_seconds)));
  line("prefill", rate_text(figures.prefill_rate()),
       tokens_text(static_cast<double>(figures.prompt_tokens)));
  if (figures.generated_tokens > 1) {
    line("decode", rate_text(figures.decode_rate()),
         tokens_text(static_cast<double>(figures.generated_tokens)));
  }
  const auto bytes = [](std::uint64_t value) { return bytes_text(static_cast<double>(value)); };
  line("KV cache", bytes(figures.cache.total()),
       concat("local ", bytes(figures.cache.local), ", global ", bytes(figures.cache.global)));
  if (figures.routing.has_router()) {
    line("routed", percent_text(figures.routing.share()),
         "of tokens, by layer " + layer_bars(figures.routing));
  }
  if (!figures.prefill_ops.empty()) out << op_table("prefill", figures.prefill_ops);
  if (!figures.decode_ops.empty()) out << op_table("decode", figures.decode_ops);
  return out.str();
}

nlohmann::ordered_json figures_json(const Figures& figures) {
  nlohmann::ordered_json json = {
      {"model", figures.model},
      {"architecture", figures.architecture},
      {"backend", figures.backend},
      {"load_seconds", figures.load_seconds},
      {"prompt_tokens", figures.prompt_tokens},
      {"generated_tokens", figures.generated_tokens},
      {"first_token_seconds", figures.generated_tokens > 0
                                  ? nlohmann::ordered_json(figures.first_token_seconds)
                                  : nlohmann::ordered_json()},
      {"prefill_tokens_per_second", figures.prefill_rate()},
      {"decode_tokens_per_second", figures.decode_rate()},
      {"cache_bytes", {{"local", figures.cache.local}, {"global", figures.cache.global}}},
      {"arena_bytes", figures.arena_bytes},
  };
  if (figures.routing.has_router() && figures.routing.tokens > 0)
    json["routed"] = routing_json(figures.routing);
  if (!figures.prefill_ops.empty()) {
    json["ops"] = {{"prefill", ops_json(figures.prefill_ops)},
                   {"decode", ops_json(figures.decode_ops)}};
  }
  return json;
}

}  // namespace l2a
