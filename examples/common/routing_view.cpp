#include "examples/common/routing_view.h"

#include <algorithm>
#include <iomanip>
#include <nlohmann/json.hpp>

#include "graph/error.h"

namespace l2a {
namespace {

// Black on steps of one hue, readable on light and on dark terminals: 256-colour backgrounds from the least share up.
constexpr std::array<int, kShareSteps.size()> kBackgrounds = {230, 223, 216, 209, 203};
constexpr std::string_view kReset = "\x1b[0m";

std::string background(std::size_t step) {
  return concat("\x1b[48;5;", kBackgrounds[step], ";38;5;16m");
}

std::string percent(double share) {
  return concat(std::fixed, std::setprecision(1), 100 * share, "%");
}

}  // namespace

std::size_t share_step(double share) {
  if (share <= 0) return 0;
  const auto found = std::find_if(kShareSteps.begin(), kShareSteps.end(),
                                  [&](int step) { return 100 * share <= step; });
  return std::min(static_cast<std::size_t>(found - kShareSteps.begin()) + 1, kShareSteps.size());
}

RoutingRecord::RoutingRecord(const ModelConfig& config) : layers_(config.layers) {
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    if (config.routes(layer)) routers_.push_back(layer);
  }
  if (routers_.empty()) throw Error("the model has no router");
  reach_ = static_cast<std::size_t>(config.l2a->window + config.l2a->sinks);
}

void RoutingRecord::add(std::size_t tokens, std::span<const std::vector<std::int32_t>> routes) {
  routed_.resize((size_ + tokens) * routers_.size());
  for (std::size_t router = 0; router < routes.size(); ++router) {
    for (const std::int32_t token : routes[router])
      routed_[(size_ + static_cast<std::size_t>(token)) * routers_.size() + router] = true;
  }
  size_ += tokens;
}

double RoutingRecord::share(std::size_t first, std::size_t last) const {
  last = std::min(last, size_);
  if (first >= last) return 0;
  const auto at = [&](std::size_t position) {
    return routed_.begin() + static_cast<std::ptrdiff_t>(position * routers_.size());
  };
  return static_cast<double>(std::count(at(first), at(last), true)) /
         static_cast<double>((last - first) * routers_.size());
}

void PieceDecoder::push(Token token, const std::function<void(const TextPiece&)>& piece) {
  std::string text = decoder_.push(token);
  ++next_;
  if (text.empty()) return;
  piece({std::move(text), first_, next_});
  first_ = next_;
}

void PieceDecoder::finish(const std::function<void(const TextPiece&)>& piece) {
  std::string text = decoder_.finish();
  if (!text.empty()) piece({std::move(text), first_, next_});
  first_ = next_;
}

std::string routing_legend(const RoutingRecord& record) {
  std::string text = concat("routed by none of ", record.routers().size(), " layers ");
  for (std::size_t step = 0; step < kBackgrounds.size(); ++step) {
    text += concat(background(step), " to ", kShareSteps[step], "% ", kReset);
  }
  return text + concat("; the first ", record.reach(), " tokens see everything anyway\n");
}

std::string coloured(const TextPiece& piece, const RoutingRecord& record) {
  const std::size_t step = share_step(record.share(piece.first, piece.last));
  const std::string colour = step > 0 ? background(step - 1) : std::string();
  std::string text = colour;
  for (const char c : piece.text) {
    if (c == '\n' && !colour.empty()) {
      text += concat(kReset, "\n", colour);  // or the colour would fill the line
    } else if (c == '\n' || c == '\t' || (static_cast<unsigned char>(c) >= ' ' && c != '\x7f')) {
      text += c;
    } else {
      text += "\xef\xbf\xbd";  // U+FFFD: what a document holds may not move the cursor
    }
  }
  if (!colour.empty()) text += kReset;
  return text;
}

std::string routing_line(const TextPiece& piece, const RoutingRecord& record) {
  std::string signs;
  const std::vector<std::int64_t>& routers = record.routers();
  std::size_t router = 0;
  for (std::int64_t layer = 0; layer < record.layers(); ++layer) {
    if (router == routers.size() || routers[router] != layer) {
      signs += '-';
      continue;
    }
    bool routed = false;
    for (std::size_t at = piece.first; at < std::min(piece.last, record.size()); ++at)
      routed = routed || record.routed(at, router);
    signs += routed ? '#' : '.';
    ++router;
  }
  const bool ran = piece.first < record.size();
  return concat(std::setw(7), piece.first, std::setw(8),
                ran ? percent(record.share(piece.first, piece.last)) : std::string("-"), "  ",
                signs, "  ", nlohmann::json(piece.text).dump(), "\n");
}

std::string routing_header(const RoutingRecord& record) {
  return concat(std::setw(7), "token", std::setw(8), "routed", "  layers 0 to ",
                record.layers() - 1, ": # routed, . not, - no router; text\n");
}

std::string skipped_text(const RoutingRecord& record, std::size_t prompt) {
  const auto skipped = [&](std::size_t first, std::size_t last) {
    first = std::max(first, record.reach());
    return first < std::min(last, record.size()) ? percent(1 - record.share(first, last))
                                                 : std::string("none to skip");
  };
  return concat("prompt ", skipped(0, prompt), ", answer ", skipped(prompt, record.size()));
}

std::string skipped_line(const RoutingRecord& record, std::size_t prompt) {
  return concat(std::left, std::setw(14), "skipped", std::right, "of the reads past ",
                record.reach(), " tokens: ", skipped_text(record, prompt), "\n");
}

}  // namespace l2a
